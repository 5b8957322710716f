"""Attention and recurrent layers against the released package, bit for bit."""

from __future__ import annotations

import importlib.util
import pathlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batiste.core as core
import batiste.linen as nn

flax_nn = pytest.importorskip("flax.linen", reason="compares with the released flax")
flax_core = pytest.importorskip("flax.core", reason="compares with the released flax")

_SPEC = importlib.util.spec_from_file_location(
    "cases_attention_rnn", pathlib.Path(__file__).with_name("cases_attention_rnn.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
cases = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cases)

RNGS = {"params": jax.random.key(5), "dropout": jax.random.key(6)}


def leaves(tree: Any) -> dict[str, Any]:
    paths = jax.tree_util.tree_leaves_with_path(_as_dict(tree))
    return {jax.tree_util.keystr(path): leaf for path, leaf in paths}


def _as_dict(tree: Any) -> Any:
    if isinstance(tree, core.FrozenDict | flax_core.FrozenDict | dict):
        return {key: _as_dict(tree[key]) for key in tree}
    if isinstance(tree, tuple):
        return tuple(map(_as_dict, tree))
    return tree


def assert_same(ours: Any, theirs: Any) -> None:
    a, b = leaves(ours), leaves(theirs)
    assert a.keys() == b.keys()
    for path in a:
        assert a[path].dtype == b[path].dtype, path
        np.testing.assert_array_equal(
            np.asarray(a[path]), np.asarray(b[path]), err_msg=path
        )


def perturbed(variables: Any) -> Any:
    """Other parameters, so that biases and scales are not 0 and 1."""
    rng = np.random.default_rng(7)
    return jax.tree.map(
        lambda x: (
            x
            if jnp.issubdtype(x.dtype, jnp.integer)
            else jnp.asarray(rng.normal(size=x.shape), x.dtype)
        ),
        variables,
    )


def compare(case: Any, jit: bool) -> None:
    """Compares `init`, and `apply` to other variables than those of `init`."""

    def run(nn: Any) -> Any:
        module, args, kwargs = case(nn)

        def init_and_apply(rngs: Any) -> Any:
            y, variables = module.init_with_output(rngs, *args, **kwargs)
            changed = perturbed(_as_dict(variables))
            # With a cache, one step of decoding, on what `init` made room for.
            step = tuple(x[..., :1, :] for x in args) if "cache" in changed else args
            applied = module.apply(
                changed,
                *step,
                rngs={"dropout": rngs["dropout"]},
                mutable=["cache", "intermediates"],
                **kwargs,
            )
            return _as_dict((y, variables, applied))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return (jax.jit(init_and_apply) if jit else init_and_apply)(RNGS)

    assert_same(run(nn), run(flax_nn))


@pytest.mark.parametrize("name", sorted(cases.CASES))
def test_case(name):
    # Operation by operation: what both libraries do alike is compiled once.
    compare(cases.CASES[name], jit=False)


dtypes = st.sampled_from([None, jnp.float32, jnp.bfloat16, jnp.float16])
batches = st.lists(st.integers(1, 3), max_size=2).map(tuple)


@settings(max_examples=20, deadline=None)
@given(
    inputs=st.sampled_from(["q", "qk", "qkv"]),
    batch=batches,
    lengths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    in_features=st.sampled_from([4, 6]),
    in_dtype=st.sampled_from([np.float32, np.float16]),
    mask=st.sampled_from([None, "random", "heads"]),
    dtype=dtypes,
    param_dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
    num_heads=st.sampled_from([1, 2]),
    qkv_features=st.sampled_from([None, 4]),
    out_features=st.sampled_from([None, 3]),
    use_bias=st.booleans(),
    normalize_qk=st.booleans(),
    force_fp32_for_softmax=st.booleans(),
    dropout_rate=st.sampled_from([0.0, 0.4]),
    broadcast_dropout=st.booleans(),
    sow_weights=st.booleans(),
)
def test_attention(sow_weights, dropout_rate, **config):
    call = {"sow_weights": sow_weights, "deterministic": False}
    compare(cases.attention(call=call, dropout_rate=dropout_rate, **config), jit=True)


@settings(max_examples=20, deadline=None)
@given(
    # Not with the default recurrent initializer, which works in float32 only.
    layer=st.sampled_from(
        ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell", "MGUCell"]
    ),
    batch=batches,
    in_features=st.integers(1, 4),
    features=st.integers(1, 5),
    in_dtype=st.sampled_from([np.float32, np.float16]),
    dtype=dtypes,
    param_dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_cells(**config):
    init = jax.nn.initializers.normal()
    compare(cases.cell(recurrent_kernel_init=init, **config), jit=True)


@settings(max_examples=20, deadline=None)
@given(
    layer=st.sampled_from(["LSTMCell", "GRUCell", "SimpleCell"]),
    time=st.integers(1, 5),
    lengths=st.sampled_from([None, (1, 2), (5, 3)]),
    bidirectional=st.booleans(),
    time_major=st.booleans(),
    return_carry=st.booleans(),
    reverse=st.booleans(),
    keep_order=st.booleans(),
)
def test_rnn(reverse, keep_order, lengths, time, **config):
    if lengths is not None:
        lengths = tuple(min(n, time) for n in lengths)
    if not config["bidirectional"]:
        config |= {"reverse": reverse, "keep_order": keep_order}
    compare(cases.rnn(lengths=lengths, time=time, **config), jit=True)

"""Linear layers, convolutions, norms and the like against the released flax.

The same layer with the same key must have the same parameters and, with the same
input, the same outputs and the same changed collections, bit for bit. Some of the cases
are compiled as well, which is what takes the time.
"""

import functools
import importlib
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax import numpy as jnp

from batiste import linen as ours
from batiste.core.errors import InvalidArgumentError

from .cases_dense_conv_norm import CASES, MUTABLE, normal, values

# By name, as the type checker runs where flax is not installed.
theirs: Any = importlib.import_module("flax.linen")
their_pooling: Any = importlib.import_module("flax.linen.pooling")
their_dtypes: Any = importlib.import_module("flax.linen.dtypes")

KEYS = {"params": jax.random.key(3), "dropout": jax.random.key(4)}
COMPILED = list(CASES)[::5]
some = settings(max_examples=60, deadline=None)


def assert_same(a: Any, b: Any) -> None:
    """Equal trees of equal arrays; any NaN is as good as another."""
    assert jax.tree.structure(_plain(a)) == jax.tree.structure(_plain(b))
    for x, y in zip(jax.tree.leaves(_plain(a)), jax.tree.leaves(_plain(b))):
        x, y = np.array(x), np.array(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.array_equal(x != x, y != y)
        x[x != x] = y[y != y] = 0
        assert x.tobytes() == y.tobytes()


def _plain(tree: Any) -> Any:
    """The tree with plain dicts for whatever mapping a library has."""
    if hasattr(tree, "items"):
        return {k: _plain(v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(_plain(v) for v in tree)
    return tree


def assert_close(a: Any, b: Any, dtypes: bool = True) -> None:
    """Equal but for the rounding of half precision (DIFFERENCES.md)."""
    assert jax.tree.structure(_plain(a)) == jax.tree.structure(_plain(b))
    for x, y in zip(jax.tree.leaves(_plain(a)), jax.tree.leaves(_plain(b))):
        assert x.shape == y.shape
        assert x.dtype == y.dtype or not dtypes
        x, y = (np.asarray(z, np.float32) for z in (x, y))
        np.testing.assert_allclose(x, y, rtol=2**-5, atol=2**-5)


def compare(build: Any, compiled: bool = False, same: Any = assert_same) -> None:
    """Runs what `build` makes with either library."""
    results = []
    for nn in (theirs, ours):
        module, inputs, kwargs = build(nn)

        def apply(variables, inputs, module=module, kwargs=kwargs):
            return module.apply(
                variables, *inputs, mutable=MUTABLE, rngs=KEYS, **kwargs
            )

        output, variables = module.init_with_output(KEYS, *inputs, **kwargs)
        result = [variables, output, apply(variables, inputs)]
        if compiled:
            result.append(jax.jit(apply)(variables, inputs))
        results.append(result)
    for a, b in zip(*results, strict=True):
        same(a, b)


# Flax sums their weights in half precision.
SUMMED_IN_HALF = {"weight_norm_dtype"}


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    same = assert_close if name in SUMMED_IN_HALF else assert_same
    compare(CASES[name], compiled=name in COMPILED, same=same)


@pytest.mark.parametrize(
    "name",
    ["dense", "dense_bfloat16", "Conv_plain", "embed", "LayerNorm_plain"]
    + ["BatchNorm_plain", "GroupNorm_exact", "conv_transpose_flip", "RMSNorm_float16"],
)
def test_gradient(name):
    results = []
    for nn in (theirs, ours):
        module, inputs, kwargs = CASES[name](nn)
        variables = _plain(module.init(KEYS, *inputs, **kwargs))

        def loss(params, module=module, rest=variables, inputs=inputs, kwargs=kwargs):
            y, _ = module.apply(
                {**rest, "params": params}, *inputs, mutable=MUTABLE, **kwargs
            )
            return (y.astype(jnp.float32) ** 2).sum()

        results.append(jax.jit(jax.grad(loss))(variables["params"]))
    assert_same(*results)


@pytest.mark.parametrize(
    "name",
    ["dense", "dense_general_batch", "Conv_plain", "BatchNorm_plain"]
    + ["LayerNorm_plain", "GroupNorm_mask", "embed", "prelu float32", "dropout 0.3"],
)
def test_float64(name):
    with jax.enable_x64(True):

        def build(nn):
            module, inputs, kwargs = CASES[name](nn)
            wide = {"float32": np.float64, "int32": np.int64}
            inputs = tuple(jnp.asarray(x, wide[x.dtype.name]) for x in inputs)
            if hasattr(module, "param_dtype"):
                module = module.clone(param_dtype=jnp.float64)
            return module, inputs, kwargs

        compare(build)


def run_or_error(function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        return type(error)


# Few sizes, as JAX compiles each operation for each shape anew.
sizes = st.sampled_from([1, 3])
dtypes = st.sampled_from([None, jnp.float32, jnp.bfloat16, jnp.float16])
param_dtypes = st.sampled_from([jnp.float32, jnp.bfloat16, jnp.complex64])
input_dtypes = st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16, jnp.int32])


@some
@given(st.lists(sizes, max_size=3), sizes, sizes, dtypes, param_dtypes, input_dtypes)
def test_dense(batch, n_in, n_out, dtype, param_dtype, input_dtype):
    x = values(*batch, n_in, dtype=input_dtype)
    fields = dict(dtype=dtype, param_dtype=param_dtype, bias_init=normal)
    compare(lambda nn: (nn.Dense(n_out, **fields), (x,), {}))


@some
@given(st.data())
def test_dense_general(data):
    shape = data.draw(st.sampled_from([(3,), (3, 2), (2, 3, 2), (2, 3, 1, 2)]))
    n_batch = data.draw(st.integers(0, len(shape) - 1))
    free = list(range(n_batch, len(shape)))
    axes = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
    axes = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    features = data.draw(st.sampled_from([(2,), (3, 2)]))
    fields = dict(axis=tuple(axes), batch_dims=tuple(range(n_batch)), bias_init=normal)
    x = values(*shape)
    compare(lambda nn: (nn.DenseGeneral(features, **fields), (x,), {}))


pads = st.one_of(
    st.sampled_from(["SAME", "VALID", "CIRCULAR"]),
    st.sampled_from([1, (2, (0, 1)), ((0, 2), 1)]),
)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["Conv", "ConvLocal", "ConvTranspose"]),
    st.sampled_from([(1, 3), (3, 2)]),
    st.sampled_from([(1, 1), (2, 1), (2, 3)]),
    st.sampled_from([(1, 1), (1, 2)]),
    pads,
    st.sampled_from([(), (2,), (2, 3)]),
    dtypes,
)
def test_conv(layer, kernel, strides, dilation, padding, batch, dtype):
    fields = dict(
        strides=strides,
        kernel_dilation=dilation,
        padding=padding,
        dtype=dtype,
        bias_init=normal,
    )
    # As large as any dilated kernel, so that no output is empty.
    x = values(*batch, 9, 10, 3)
    compare(lambda nn: (getattr(nn, layer)(2, kernel, **fields), (x,), {}))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.data())
def test_grouped_conv(groups, data):
    per_input, per_output = data.draw(sizes), data.draw(sizes)
    x = values(2, 7, groups * per_input)
    fields = dict(feature_group_count=groups, bias_init=normal)
    compare(lambda nn: (nn.Conv(groups * per_output, (3,), **fields), (x,), {}))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["LayerNorm", "RMSNorm", "InstanceNorm", "BatchNorm", "GroupNorm"]),
    st.sampled_from([(3, 4), (1, 2), (2, 3, 4), (2, 3, 3, 2)]),
    dtypes,
    param_dtypes,
    input_dtypes,
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_norms(layer, shape, dtype, param_dtype, input_dtype, fast, force, data):
    fields: dict[str, Any] = dict(
        dtype=dtype,
        param_dtype=param_dtype,
        scale_init=normal,
        use_fast_variance=fast,
        force_float32_reductions=force,
    )
    if layer != "RMSNorm":
        fields["bias_init"] = normal
    if layer == "BatchNorm":
        fields["use_running_average"] = False
    if layer == "GroupNorm":
        fields["num_groups"] = data.draw(st.sampled_from([1, 2]))
    call = {}
    if data.draw(st.booleans()):
        # Of what a mask hides whole Flax makes NaN.
        mask = np.array(values(*shape, seed="mask") > 0)
        whole = layer in ("InstanceNorm", "GroupNorm")
        mask[(slice(None), *(0,) * (len(shape) - 2)) if whole else 0] = True
        mask[..., 0] = True
        call["mask"] = mask
    x = values(*shape, dtype=input_dtype)
    same: Any = assert_same
    if layer == "BatchNorm" and param_dtype == jnp.bfloat16 and not force:
        # Running averages of half precision, which keep it.
        same = functools.partial(assert_close, dtypes=False)
    compare(lambda nn: (getattr(nn, layer)(**fields), (x,), call), same=same)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("groups", [None, [[0, 1], [2, 3]]])
@pytest.mark.parametrize("layer", ["BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm"])
def test_norm_across_a_mapped_axis(layer, fast, groups):
    fields: dict[str, Any] = dict(use_fast_variance=fast)
    if layer == "BatchNorm":
        fields.update(use_running_average=False)
    if layer == "GroupNorm":
        fields.update(num_groups=2)
    mapped = dict(axis_name="devices", axis_index_groups=groups)
    x = values(4, 2, 5, 4)
    results = []
    for nn in (theirs, ours):
        variables = getattr(nn, layer)(**fields).init(KEYS, x[0])
        module = getattr(nn, layer)(**fields, **mapped)

        def apply(x, module=module, variables=variables):
            return module.apply(variables, x, mutable=MUTABLE)

        results.append(
            run_or_error(lambda apply=apply: jax.vmap(apply, axis_name="devices")(x))
        )
    assert_same(*results)


windows = st.sampled_from([(1, 2), (2, 2), (3, 1)])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["max_pool", "min_pool", "avg_pool"]),
    windows,
    st.none() | windows,
    st.sampled_from(["SAME", "VALID", "SAME_LOWER", ((1, 0), (2, 1))]),
    input_dtypes,
    st.integers(0, 2),
    st.booleans(),
)
def test_pooling(name, window, strides, padding, dtype, n_batch, count):
    if n_batch == 2 and not isinstance(padding, str):
        n_batch = 1  # flax does not take several batch axes here
    x = values(2, 3, 6, 7, 2, dtype=dtype)[(0,) * (2 - n_batch)]
    extra = {"count_include_pad": count} if name == "avg_pool" else {}
    theirs = getattr(their_pooling, name)

    def released(x, *args, **kwargs):
        if name != "avg_pool" or x.dtype.itemsize > 2:
            return theirs(x, *args, **kwargs)
        # Flax sums in half precision (DIFFERENCES.md).
        return theirs(x.astype(jnp.float32), *args, **kwargs).astype(x.dtype)

    results = [
        (
            pool(x, window, strides, padding, **extra),
            jax.jit(lambda x, pool=pool: pool(x, window, strides, padding, **extra))(x),
        )
        for pool in (released, getattr(ours, name))
    ]
    assert_same(*results)


@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "min_pool"])
def test_gradient_of_pooling(name):
    x = values(2, 6, 7, 3)
    results = [
        jax.grad(lambda x, pool=pool: (pool(x, (2, 3), (1, 2)) ** 2).sum())(x)
        for pool in (getattr(their_pooling, name), getattr(ours, name))
    ]
    assert_same(*results)


def test_pool_with_any_reduction():
    x = values(1, 6, 7, 3)
    results = [nn.pool(x, 1.0, lax.mul, (2, 2), None, "SAME") for nn in (theirs, ours)]
    assert_same(*results)


numbers = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.floats(-3, 3, width=32),
    st.booleans(),
    st.builds(
        lambda shape, dtype: values(*shape, dtype=dtype),
        st.lists(sizes, max_size=2),
        st.sampled_from([jnp.float32, jnp.bfloat16, jnp.int8, jnp.complex64]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(numbers, max_size=3),
    st.sampled_from([None, jnp.float32, jnp.bfloat16, jnp.int32, "float16"]),
    st.booleans(),
)
def test_dtypes(args, dtype, inexact):
    options = dict(dtype=dtype, inexact=inexact)
    a, b = (
        run_or_error(lambda lib=lib: lib.canonicalize_dtype(*args, **options))
        for lib in (their_dtypes, ours.dtypes)
    )
    assert a == b
    a, b = (
        run_or_error(lambda lib=lib: lib.promote_dtype(*args, **options))
        for lib in (their_dtypes, ours.dtypes)
    )
    if isinstance(a, type):
        assert a == b
    else:
        assert_same(a, b)


@pytest.mark.parametrize("module", ["activation", "initializers"])
def test_functions_are_those_of_jax(module):
    a = importlib.import_module(f"flax.linen.{module}")
    b = importlib.import_module(f"batiste.linen.{module}")
    names = {n for n in dir(a) if n.islower() and callable(getattr(a, n))}
    names -= {"compact", "ones_init", "zeros_init"}
    assert len(names) > 15
    # They take or do more, as DIFFERENCES.md says; their numbers are compared below.
    names -= {"softmax", "log_softmax", "orthogonal", "delta_orthogonal"}
    for name in names:
        assert getattr(b, name) is getattr(a, name), name


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name):
    x = values(2, 3, 4)
    for options in ({}, {"axis": 0}, {"axis": (0, 2)}, {"where": x > 0}):
        assert_same(
            getattr(theirs, name)(x, **options), getattr(ours, name)(x, **options)
        )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize("name", ["orthogonal", "delta_orthogonal"])
def test_orthogonal(name, dtype):
    key = jax.random.key(3)
    for shape in ((3, 4, 4), (3, 2, 5), (1, 6, 6)):
        made = [
            getattr(nn.initializers, name)(scale=2.0)(key, shape, dtype)
            for nn in (theirs, ours)
        ]
        assert_same(*made)


ERRORS = {
    "einsum without arrow": lambda nn: nn.Einsum((4, 3), "...a,ab"),
    "einsum of one": lambda nn: nn.Einsum((4, 3), "...a->...a"),
    "einsum of nothing": lambda nn: nn.Einsum((4, 3)),
    "batch_dims": lambda nn: nn.DenseGeneral(3, batch_dims=(1,)),
    "embed": lambda nn: nn.Embed(3, 2),
    "causal": lambda nn: nn.Conv(3, (2, 2), padding="CAUSAL"),
    "conv mask": lambda nn: nn.Conv(3, (2,), mask=np.ones((1,))),
    "conv padding": lambda nn: nn.Conv(3, (2,), padding=(1, 2, 3)),
    "conv_transpose mask": lambda nn: nn.ConvTranspose(3, (2,), mask=np.ones((1,))),
    "batch_norm": lambda nn: nn.BatchNorm(),
    "groups": lambda nn: nn.GroupNorm(3),
    "groups twice": lambda nn: nn.GroupNorm(2, 2),
    "no groups": lambda nn: nn.GroupNorm(None),
    "group size": lambda nn: nn.GroupNorm(None, 3),
    "group axes": lambda nn: nn.GroupNorm(2, reduction_axes=(1,)),
    "instance axes": lambda nn: nn.InstanceNorm(feature_axes=0),
    "dropout": lambda nn: nn.Dropout(0.5),
    "sequential": lambda nn: nn.Sequential([]),
    "sequential of a layer": lambda nn: nn.Sequential(nn.Dense(3)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_of_the_same_type(name):
    x = values(2, 6, 4)
    key = jax.random.key(0)
    a, b = (
        run_or_error(lambda nn=nn: ERRORS[name](nn).init({"params": key}, x))
        for nn in (theirs, ours)
    )
    assert isinstance(a, type)
    # One that names the argument is caught as either of Python's two.
    assert a.__name__ == b.__name__ or (
        b is InvalidArgumentError and a in (TypeError, ValueError)
    )

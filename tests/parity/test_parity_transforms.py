"""Transforms of modules against the released flax.

The same program with the same keys must have the same variables, names of axes,
outputs, changed collections and gradients, bit for bit, eagerly and compiled.
"""

from __future__ import annotations

import importlib
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from batiste import linen as ours
from batiste.core import unfreeze

from . import cases_transforms_in_programs as _programs  # noqa: F401
from . import cases_transforms_of_classes as _classes  # noqa: F401
from . import cases_transforms_of_functions as _functions  # noqa: F401
from .transform_programs import CASES, block, net

# By name, as the type checker runs where flax is not installed.
theirs: Any = importlib.import_module("flax.linen")
their_partitioning: Any = importlib.import_module("flax.linen.partitioning")

KEYS = {"params": jax.random.key(3), "dropout": jax.random.key(4)}
X = jnp.asarray([[0.3, -1.2], [0.7, 0.1], [-0.4, 2.0]])
MUTABLE = ["state", "batch_stats"]


def plain(tree: Any) -> Any:
    """Plain dicts, numpy arrays, and boxes as pairs of value and names."""
    if hasattr(tree, "items"):
        return {k: plain(v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return [plain(v) for v in tree]
    if hasattr(tree, "unbox"):
        return {"value": plain(tree.unbox()), "names": tuple(tree.names)}
    if hasattr(tree, "names"):
        return {"names": tuple(tree.names)}
    if isinstance(tree, (jax.Array, np.ndarray)):
        return (tree.dtype.name, tree.shape, np.asarray(tree).tobytes())
    return tree


def results(module: Any, x: Any = X, variables: Any = None) -> dict[str, Any]:
    """All that a program gives."""
    if variables is None:
        output, variables = module.init_with_output(KEYS, x)
    else:
        output = None

    def apply(variables, x):
        return module.apply(variables, x, mutable=MUTABLE, rngs=KEYS)

    def loss(params, x):
        y = module.apply({**variables, "params": params}, x, rngs=KEYS)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(y))

    frozen = jax.tree.leaves(variables.get("params", {}))
    mutates = any(col in variables for col in MUTABLE)
    return {
        "output": plain(output),
        "variables": plain(variables),
        "applied": plain(apply(variables, x)),
        "compiled": plain(jax.jit(apply)(variables, x)),
        "gradients": None
        if mutates or not frozen
        else plain(jax.grad(loss, argnums=(0, 1))(variables["params"], x)),
    }


@pytest.mark.parametrize("name", CASES)
def test_same_program(name):
    found, expected = (results(net(nn, CASES[name])) for nn in (ours, theirs))
    for key in expected:
        assert found[key] == expected[key], key


JITTED = [
    "vmap_setup",
    "scan_class",
    "remat_shared",
    "names_go_on",
    "modules_as_arguments",
    "cond_unnamed",
    "gradients",
]


@pytest.mark.parametrize("name", JITTED)
def test_jit_changes_nothing(name):
    # The released flax draws other keys under `jit`, so the variables are given.
    def program(nn, module, x):
        return nn.jit(lambda mdl, x: CASES[name](nn, mdl, x))(module, x)

    keep = net(ours, CASES[name])
    variables = unfreeze(keep.init(KEYS, X))
    # What is compiled may be rounded in another way.
    assert_close(net(ours, program).init(KEYS, X), variables)
    for rngs in ({}, KEYS)[name == "scan_class" :]:
        y = keep.apply(variables, X, rngs=rngs)
        assert_close(net(ours, program).apply(variables, X, rngs=rngs), y)
    if name != "scan_class":
        found, expected = (
            net(nn, program).apply(variables, X) for nn in (ours, theirs)
        )
        assert plain(found) == plain(expected)


def assert_close(a: Any, b: Any) -> None:
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    assert len(a) == len(b)
    for x, y in zip(a, b):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_known_differences():
    """`jit` and `cond` draw the keys that are drawn without, as the design has it."""

    def layer(nn, module, x):
        return nn.Dense(2, name="a")(x)

    def jitted(nn, module, x):
        return nn.jit(lambda mdl, x: layer(nn, mdl, x))(module, x)

    def second(nn, module, x):
        branches = [lambda mdl, x: layer(nn, mdl, x) for _ in range(2)]
        return nn.cond(False, *branches, module, x)

    for program in (jitted, second):
        assert_close(net(ours, program).init(KEYS, X), net(theirs, layer).init(KEYS, X))
        assert plain(net(theirs, program).init(KEYS, X)) != plain(
            net(theirs, layer).init(KEYS, X)
        )


# Any stack of transforms.

axes = st.sampled_from([0, 1, -1])
flags = st.booleans()
vmaps = st.fixed_dictionaries(
    {"kind": st.just("vmap"), "axis": axes, "dropout": flags, "stacked": flags}
)
scans = st.fixed_dictionaries(
    {
        "kind": st.just("scan"),
        "axis": axes,
        "dropout": flags,
        "length": st.integers(1, 3),
        "reverse": flags,
        "unroll": st.integers(1, 2),
        "shared": flags,
    }
)
others = st.fixed_dictionaries(
    {"kind": st.sampled_from(["remat", "fold_rngs", "map_variables"])}
)
stacks = st.lists(st.one_of(vmaps, scans, others), min_size=1, max_size=3)


def negate(variables: Any) -> Any:
    return jax.tree.map(lambda v: -v, variables)


def transformed(nn: Any, stack: list[dict[str, Any]], target: Any) -> Any:
    for step in stack:
        split = {"params": True, "dropout": step.get("dropout", True)}
        axis = step.get("axis")
        if step["kind"] == "vmap":
            stacked = step["stacked"]
            target = nn.vmap(
                target,
                variable_axes={"params": axis if stacked else None},
                split_rngs={**split, "params": stacked},
                in_axes=(0, None),
            )
        elif step["kind"] == "scan":
            shared = step["shared"]
            target = nn.scan(
                target,
                variable_axes={} if shared else {"params": axis},
                variable_broadcast="params" if shared else False,
                split_rngs={**split, "params": not shared},
                length=step["length"],
                reverse=step["reverse"],
                unroll=step["unroll"],
            )
        elif step["kind"] == "map_variables":
            target = nn.map_variables(target, "params", negate, negate, mutable=True)
        else:
            target = getattr(nn, step["kind"])(target)
    return target


@settings(max_examples=40, deadline=None)
@given(stack=stacks, as_class=flags, rate=st.sampled_from([0.0, 0.5]))
def test_any_stack(stack, as_class, rate):
    batch = [2] * sum(step["kind"] == "vmap" for step in stack)
    x = jnp.arange(1.0, 1 + 2 ** (len(batch) + 1)).reshape(*batch, 2) / 7

    def program(nn, module, x):
        if as_class:
            layer = transformed(nn, stack, block(nn))(rate, counts=False)
            return layer(x, None)[0]
        layer = block(nn)(rate, counts=False)
        run = transformed(nn, stack, lambda mdl, x, _: mdl(x))
        return run(layer, x, None)[0]

    found, expected = (results(net(nn, program), x) for nn in (ours, theirs))
    for key in expected:
        assert found[key] == expected[key], key


# Names of axes beside variables.


def named(nn: Any, partitioning: Any) -> Any:
    class Named(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            init = nn.initializers.normal()
            w = partitioning.param_with_axes("w", init, (2, 3), axes=("in", "out"))
            bare = partitioning.param_with_axes("bare", init, (3,))
            state = partitioning.variable_with_axes(
                "state", "mean", jnp.zeros, (3,), axes=("out",)
            )
            y = x @ w + bare
            if state.is_mutable():
                state.value += y.sum()
            return x + y.sum(), state.value

    return Named


def libraries():
    return ((ours, ours.partitioning), (theirs, their_partitioning))


def assert_same_names(build: Any) -> None:
    found, expected = (
        plain(build(nn, partitioning).init(KEYS, X)) for nn, partitioning in libraries()
    )
    assert found == expected


def test_names_of_axes():
    assert_same_names(lambda nn, partitioning: named(nn, partitioning)())
    for nn, partitioning in libraries():
        variables = named(nn, partitioning)().init(KEYS, X)
        names = partitioning.get_axis_names(variables["params_axes"])
        assert {k: tuple(v) for k, v in names.items()} == {"w": ("in", "out")}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("collections", [("params",), ("params", "state"), ()])
def test_scan_with_axes(axis, collections):
    def program(nn, partitioning):
        scan = partitioning.scan_with_axes(
            named(nn, partitioning),
            variable_axes={"params": axis, "state": 0},
            split_rngs={"params": True},
            length=3,
            axis_name="layers",
            axes_collections=collections,
        )
        return net(nn, lambda nn, module, x: scan()(x, None))

    assert_same_names(program)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("names", [{}, {"params": "p"}, {"params": "p", "state": "s"}])
def test_vmap_with_axes(axis, names):
    def program(nn, partitioning):
        vmap = partitioning.vmap_with_axes(
            named(nn, partitioning),
            variable_axes={"params": axis, "state": 0},
            split_rngs={"params": True},
            partitioning_axis_names=names,
        )
        return net(nn, lambda nn, module, x: vmap()(x))

    assert_same_names(program)


def test_remat_with_static_arguments():
    def program(nn, partitioning):
        remat = partitioning.remat(nn.BatchNorm, static_argnums=(1,))
        return net(nn, lambda nn, module, x: remat()(x, False))

    assert_same_names(program)

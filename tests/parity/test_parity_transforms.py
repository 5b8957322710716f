"""Transforms of modules against the released flax.

The same program with the same keys must have the same variables, names of axes,
outputs, changed collections and gradients, bit for bit, eagerly and compiled.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from batiste import linen as ours

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


# What the released package refuses, or computes with leaked tracers, in another one.
WITHIN = {
    "jit": set(),
    "fold_rngs": set(),
    "remat": set(),
    "cond": set(),
    "switch": set(),
    "vmap": {"boxes_in_vmap"},
    "scan": set(),
    "map_variables": set(),
}


def within(nn: Any, transform: str, program: Any) -> Any:
    """A program that runs another in a transform of the same module."""

    def run(mdl, x):
        return program(nn, mdl, x)

    if transform == "cond":
        # What the second of two branches draws depends on the first.
        return lambda nn, module, x: nn.cond(x.sum() > 1e6, run, run, module, x)
    if transform == "switch":
        return lambda nn, module, x: nn.switch(2, [run, run, run], module, x)
    options = {
        "variable_axes": {True: 0},
        "split_rngs": {True: True},
        "metadata_params": {nn.PARTITION_NAME: "within"},
    }
    if transform == "vmap":
        return lambda nn, module, x: nn.vmap(run, in_axes=None, axis_size=2, **options)(
            module, x
        )
    if transform == "scan":
        return lambda nn, module, x: nn.scan(
            lambda mdl, x, _: (x, run(mdl, x)), length=2, **options
        )(module, x, None)[1]
    if transform == "map_variables":
        return lambda nn, module, x: nn.map_variables(
            run, "params", negate, negate, mutable=True
        )(module, x)
    return lambda nn, module, x: getattr(nn, transform)(run)(module, x)


@pytest.mark.parametrize("transform", WITHIN)
@pytest.mark.parametrize("name", CASES)
def test_same_program_within_a_transform(name, transform):
    if name in WITHIN[transform]:
        pytest.skip("the released package fails")
    if "jit" in name or "fold" in name:
        # The released package counts keys on from those of programs that ran before.
        alone(f"t.check_within({name!r}, {transform!r})")
    else:
        check_within(name, transform)


def check_within(name: str, transform: str) -> None:
    found, expected = (
        results(net(nn, within(nn, transform, CASES[name]))) for nn in (ours, theirs)
    )
    for key in expected:
        assert found[key] == expected[key], key


def alone(call: str) -> None:
    """Runs a call of something here, which is `t`, in a process of its own."""
    program = f"from tests.parity import conftest, test_parity_transforms as t\n{call}"
    root = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", program], check=True, cwd=root)


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
others = st.fixed_dictionaries({"kind": st.sampled_from(["remat", "map_variables"])})
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


def check_stack(stack: list[dict[str, Any]], as_class: bool, rate: float) -> None:
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
    # Steps that are unrolled add to the gradient of what they share in another order.
    rounded = any(step.get("shared") and step["unroll"] > 1 for step in stack)
    for key in expected:
        if rounded and key == "gradients":
            assert_near(found[key], expected[key])
        else:
            assert found[key] == expected[key], key


def assert_near(found: Any, expected: Any) -> None:
    """What `plain` has made of two trees is equal but for rounding."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_near(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_near(*pair)
    elif isinstance(expected, tuple):
        assert found[:2] == expected[:2]
        arrays = (np.frombuffer(data, name) for name, _, data in (found, expected))
        np.testing.assert_allclose(*arrays, rtol=1e-5, atol=1e-6)
    else:
        assert found == expected


@settings(max_examples=40, deadline=None)
@given(stack=stacks, as_class=flags, rate=st.sampled_from([0.0, 0.5]))
def test_any_stack(stack, as_class, rate):
    check_stack(stack, as_class, rate)


MAPPED = {"kind": "vmap", "axis": 0, "dropout": True, "stacked": True}
LOOP = {
    "kind": "scan",
    "axis": 0,
    "dropout": True,
    "length": 2,
    "reverse": False,
    "unroll": 1,
    "shared": False,
}
# The released package counts keys on from those of programs that ran before.
FOLDED = [
    [{"kind": "fold_rngs"}, LOOP],
    [LOOP, {"kind": "fold_rngs"}],
    [{"kind": "fold_rngs"}, {**LOOP, "shared": True, "dropout": False}],
    [{"kind": "fold_rngs"}, MAPPED, {"kind": "jit"}],
    [{"kind": "jit"}, LOOP, {"kind": "remat"}],
    [{"kind": "remat"}, {"kind": "fold_rngs"}, {"kind": "map_variables"}],
]


@pytest.mark.parametrize("stack", range(len(FOLDED)))
def test_stacks_that_fold(stack):
    alone(f"t.check_stack(t.FOLDED[{stack}], as_class=True, rate=0.5)")


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

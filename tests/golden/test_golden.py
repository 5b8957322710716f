"""Recorded parameters and outputs of every layer, which must hold for ever.

The files beside this one were written by the released flax (see `record.py`). From the
same key, each layer must draw the same parameters, and from the recorded parameters and
inputs compute the same outputs and changed collections.

Same is bit for bit where this JAX is that of the recording and rounds alike on this
machine, which `golden_cases.probe` finds out. Elsewhere XLA may round otherwise, and
the numbers need only agree within a few roundings of their dtype.
"""

import inspect
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.serialization import msgpack_restore

from .golden_cases import FAMILIES, FOLDER, arrays, probe, run

CASES = [(family, name) for family in FAMILIES for name in FAMILIES[family]]
# How many times the spacing of numbers near the largest of an array.
ROUNDINGS = 32


@cache
def recorded(family: str) -> dict[str, Any]:
    return msgpack_restore((FOLDER / f"{family}.msgpack").read_bytes())


@cache
def result(family: str, name: str) -> dict[str, Any]:
    """What Batiste does with the recorded inputs and variables."""
    case = recorded(family)["cases"][name]
    return run(FAMILIES[family][name], nn, family, case["inputs"], with_arrays(case))


def with_arrays(case: dict[str, Any]) -> Any:
    return jax.tree.map(jnp.asarray, case["variables"])


@cache
def rounds_as(family: str) -> bool:
    """Whether this JAX, on this machine, rounds as that of the recording."""
    if recorded(family)["jax"] != jax.__version__:
        return False
    here, there = dict(arrays(PROBE())), dict(arrays(recorded(family)["probe"]))
    return all(here[path].tobytes() == there[path].tobytes() for path in there)


PROBE = cache(probe)


def check(found: Any, expected: Any, exact: bool) -> None:
    """Compares two plain trees."""
    found, expected = dict(arrays(found)), dict(arrays(expected))
    assert found.keys() == expected.keys()
    for path, a in expected.items():
        b = found[path]
        assert (b.dtype, b.shape) == (a.dtype, a.shape), path
        if exact or not jnp.issubdtype(a.dtype, jnp.inexact):
            # Any NaN is as good as another.
            equal = (a == b) | ((a != a) & (b != b))
            assert equal.all(), path
        else:
            wide = complex if jnp.issubdtype(a.dtype, jnp.complexfloating) else float
            largest = np.max(np.abs(a.astype(wide)), initial=1.0, where=a == a)
            close = ROUNDINGS * float(jnp.finfo(a.dtype).eps) * largest
            np.testing.assert_allclose(
                b.astype(wide), a.astype(wide), rtol=0, atol=close, err_msg=path
            )


@pytest.mark.parametrize(("family", "name"), CASES, ids=lambda value: value)
def test_parameters(family, name):
    variables = recorded(family)["cases"][name]["variables"]
    check(result(family, name)["variables"], variables, rounds_as(family))


# The mask of these hides all of some rows. The release divides by nothing there, and
# gives NaN for the whole row.
NOTHING_COUNTS = {"LayerNorm_mask", "RMSNorm_mask"}


@pytest.mark.parametrize(("family", "name"), CASES, ids=lambda value: value)
def test_outputs(family, name):
    case, found = recorded(family)["cases"][name], result(family, name)
    for part in ("output", "changed"):
        expected = case[part]
        if name in NOTHING_COUNTS:
            assert all(np.isfinite(a).all() for _, a in arrays(found[part]))
            expected = jax.tree.map(
                lambda a, b: np.where(np.isnan(a), b, a), expected, found[part]
            )
        check(found[part], expected, rounds_as(family))


def test_every_layer_is_recorded():
    public = {name: getattr(nn, name) for name in nn.__all__}
    layers = {
        name
        for name, value in public.items()
        if inspect.isclass(value) and issubclass(value, nn.Module)
    }
    # These two have no call of their own.
    layers -= {"Module", "RNNCellBase"}
    # These have no parameters, and tests/parity compares their statistics.
    layers = {name for name in layers if "Fp8" not in name}
    assert len(layers) > 25
    seen = {
        layer
        for family in FAMILIES
        for case in recorded(family)["cases"].values()
        for layer in case["layers"].split()
    }
    assert layers <= seen


def test_every_recorded_case_is_tested():
    files = {path.stem for path in FOLDER.glob("*.msgpack")}
    assert files == FAMILIES.keys()
    for family in FAMILIES:
        assert recorded(family)["cases"].keys() == FAMILIES[family].keys()


def test_every_initializer_and_activation_is_recorded():
    names = set(FAMILIES["functions"])
    # The defaults of layers are recorded with these.
    drawing = functions(nn.initializers) - {"default_kernel_init", "default_embed_init"}
    assert {f"init {name}" for name in drawing} <= names
    assert functions(nn.activation) & functions(nn) - {"compact"} <= names


def functions(module: Any) -> set[str]:
    """The public functions of a module."""
    return {
        name
        for name, value in vars(module).items()
        if callable(value) and not inspect.isclass(value) and not name.startswith("_")
    }

"""Programs that reach through a module of flax for what it imports."""

import importlib

import jax
import pytest

from batiste.flax import imports, names

ENTRIES = [
    (module, entry.partition("=")[0])
    for module, text in imports._IMPORTS.items()
    for entry in text.split()
]


@pytest.mark.parametrize(("module", "name"), ENTRIES)
def test_each_is_a_module(flax, module, name):
    assert module in names.MODULES
    full = imports.imported(module, name)
    try:
        expected = importlib.import_module(full)
    except ModuleNotFoundError:
        pytest.skip(f"{full} is not installed")
    assert getattr(importlib.import_module(module), name) is expected


def test_one_name_may_mean_two_modules(flax):
    assert flax.linen.linear.jnp is jax.numpy
    assert flax.training.train_state.core is flax.core
    assert flax.core.partial_eval.core is jax.core
    assert flax.training.checkpoints.io is flax.io
    assert imports.imported("flax.linen.linear", "os") is None
    assert "jnp" not in flax.linen.linear.__all__

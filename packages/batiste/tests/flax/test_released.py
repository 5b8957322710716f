"""NNX from a released flax beside Batiste; here a small stand-in for it."""

import importlib.util
import sys

import pytest

import batiste.flax
from batiste.flax import released

NNX = """
from flax.core.spmd import get_pspec
from flax.typing import BaseConfigContext, Array
from flax.linen import Module as LinenModule
from flax.training.train_state import struct
from flax import config
from . import bridge
array_ref = config.flax_array_ref
"""
SPMD = """
from flax import struct
rules = ["released"]
def get_logical_axis_rules():
    return rules
def get_pspec(sharding, sharding_rules=None):
    return sharding, get_logical_axis_rules()
"""


@pytest.fixture
def beside(released_flax, monkeypatch):
    package = released_flax / "flax"
    (package / "core.py").unlink()
    (package / "__init__.py").write_text("raise ImportError('the released one')")
    for folder in ("core", "nnx", "experimental"):
        (package / folder).mkdir()
    (package / "core" / "__init__.py").write_text("raise ImportError('released')")
    (package / "core" / "spmd.py").write_text(SPMD)
    (package / "typing.py").write_text("class BaseConfigContext: pass\nArray = 3\n")
    (package / "nnx" / "__init__.py").write_text(NNX)
    (package / "nnx" / "bridge.py").write_text("import flax.linen as linen\n")
    (package / "experimental" / "__init__.py").write_text("")
    (package / "experimental" / "nnx.py").write_text("from flax.nnx import *\n")
    loaded = set(sys.modules)
    # In front of a flax that is really installed.
    monkeypatch.syspath_prepend(released_flax)
    batiste.flax.install()
    yield package
    batiste.flax.uninstall()
    for name in set(sys.modules) - loaded:
        if name.startswith("batiste.flax.released_"):
            del sys.modules[name]


def test_nnx_comes_from_it_and_works_with_what_is_ours(beside):
    from flax import nnx

    import batiste.linen
    from batiste import spmd
    from batiste.flax.typing import Array

    assert nnx.__file__ == str(beside / "nnx" / "__init__.py")
    assert nnx.LinenModule is nnx.bridge.linen.Module is batiste.linen.Module
    assert nnx.Array is Array
    assert nnx.array_ref is False
    with spmd.logical_axis_rules((("a", "x"),)):
        assert nnx.get_pspec(("a",)) == (("a",), (("a", "x"),))
    assert nnx.BaseConfigContext.__name__ == "BaseConfigContext"
    import flax.experimental.nnx

    assert flax.experimental.nnx.LinenModule is batiste.linen.Module


def test_it_is_an_attribute_of_flax(beside):
    import flax

    assert flax.nnx is sys.modules["flax.nnx"]
    assert importlib.util.find_spec("flax.nnx").origin == flax.nnx.__file__
    assert importlib.util.find_spec("flax.nnx.nothing") is None
    assert flax.typing.BaseConfigContext is flax.nnx.BaseConfigContext
    with pytest.raises(ImportError, match=r"flax\.nnx\.nothing"):
        importlib.import_module("flax.nnx.nothing")


def test_uninstalling_takes_it_away_and_it_comes_again(beside):
    from flax import nnx

    batiste.flax.uninstall()
    assert not [name for name in sys.modules if name.split(".")[0] == "flax"]
    batiste.flax.install()
    from flax import nnx as again

    assert again is not nnx
    assert again.LinenModule is nnx.LinenModule


def test_a_lent_file_that_fails_leaves_nothing_behind(beside):
    (beside / "typing.py").write_text("raise ValueError('broken')")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            released.lent("flax.typing", "BaseConfigContext")


def test_what_is_lent_is_named(beside):
    with pytest.raises(AttributeError, match="lends no 'apply_rules' of flax.core"):
        released.lent("flax.core.spmd", "apply_rules")
    del sys.modules["batiste.flax.released_flax_core_spmd"]
    (beside / "core" / "spmd.py").unlink()
    with pytest.raises(AttributeError, match=r"has no module flax\.core\.spmd"):
        released.lent("flax.core.spmd", "get_pspec")


def test_without_a_released_flax(flax, monkeypatch):
    monkeypatch.setattr(released, "_folders", list)
    assert not released.has_nnx()
    assert released.nnx_spec("flax.nnx") is None
    with pytest.raises(ImportError, match="install that beside Batiste"):
        importlib.import_module("flax.nnx")
    with pytest.raises(AttributeError, match="no attribute 'get_pspec'"):
        _ = flax.core.spmd.get_pspec


def test_nothing_else_comes_from_it(beside):
    import flax.core.spmd

    assert released.nnx_spec("flax.core") is None
    assert not hasattr(flax.core.spmd, "rules")

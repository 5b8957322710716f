"""The import hook: what there is not, probes, and the metadata of the distribution."""

import importlib
import importlib.metadata
import importlib.util

import pytest

import batiste.flax
from batiste.flax import released
from batiste.flax.finder import AliasDistribution, AliasFinder


def test_errors_of_imports_are_of_one_type(flax, monkeypatch):
    monkeypatch.setattr(released, "_folders", list)
    with pytest.raises(batiste.flax.NotInBatisteError) as caught:
        importlib.import_module("flax.nnx")
    assert caught.value.module == "flax.nnx"


def test_probes(flax, monkeypatch):
    monkeypatch.setattr(released, "_folders", list)
    assert not hasattr(flax, "nnx")
    assert hasattr(flax, "linen")
    assert importlib.util.find_spec("flax").name == "flax"
    assert importlib.util.find_spec("flax.linen.linear").name == "flax.linen.linear"
    for name in ("flax.nnx", "flax.linen.nothing", "flax.optim"):
        assert importlib.util.find_spec(name) is None
    assert repr(flax) == "<module 'flax' (batiste)>"


def test_metadata(flax):
    assert importlib.metadata.version("flax") == "0.12.8"
    assert importlib.metadata.version("Flax") == "0.12.8"
    found = importlib.metadata.distribution("flax")
    assert found.metadata["Name"] == "flax"
    assert not found.requires
    names = [d.metadata["Name"] for d in importlib.metadata.distributions()]
    assert "flax" in names
    assert "pytest" in names
    assert "flax" in importlib.metadata.packages_distributions()["flax"]
    assert importlib.metadata.version("pytest") == pytest.__version__


def test_versions(flax):
    from flax.version import __version__

    assert flax.__version__ == __version__ == "0.12.8"


def test_only_flax_is_found():
    finder = AliasFinder("0.12.8", lambda: None)
    for name in ("flaxen", "jax", "batiste.linen", "notflax.linen"):
        assert finder.find_spec(name) is None
    assert finder.find_spec("flax.struct").origin == "batiste"


def test_the_first_import_of_flax_is_told_and_no_other():
    told = []
    finder = AliasFinder("1.2.3", lambda: told.append("imported"))
    for name in ("flax.version", "flax"):
        spec = finder.find_spec(name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.__version__ == "1.2.3"
    assert told == ["imported"]


def test_the_distribution_has_metadata_and_no_files():
    found = AliasDistribution("1.2.3")
    assert found.metadata["Name"] == "flax"
    assert found.read_text("top_level.txt") == "flax\n"
    assert found.read_text("RECORD") is None

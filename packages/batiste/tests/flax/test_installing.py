"""Install, install again, refuse, undo."""

import importlib.util
import os
import sys

import pytest

import batiste.flax
from batiste.core.config import config
from batiste.flax import children, generations


def _state():
    flags = {name: getattr(config, name) for name in generations.FLAGS["0.12"]}
    names = {name for name in sys.modules if name.split(".")[0] == "flax"}
    return list(sys.meta_path), names, flags, dict(os.environ)


def test_uninstall_restores_everything(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    before = _state()
    batiste.flax.install("0.12")
    import flax.linen

    kept = flax
    assert batiste.flax.installed_generation() == "0.12"
    assert _state()[2] != before[2]
    assert sys.meta_path != before[0]
    batiste.flax.uninstall()
    assert _state() == before
    assert getattr(importlib.util.find_spec("flax"), "origin", None) != "batiste"
    # What was imported goes on working.
    assert kept.linen.Dense(2).features == 2
    assert kept.__version__ == "0.12.8"
    batiste.flax.uninstall()
    assert batiste.flax.installed_generation() is None
    assert _state() == before


def test_twice_is_once():
    before = _state()
    batiste.flax.install()
    batiste.flax.install()
    batiste.flax.uninstall()
    assert _state() == before


def test_another_generation_on_top():
    batiste.flax.install("0.6")
    try:
        with pytest.raises(
            batiste.flax.GenerationError,
            match="'0.6', and cannot have those of '0.12' as well.*uninstall",
        ):
            batiste.flax.install("0.12")
        assert batiste.flax.installed_generation() == "0.6"
    finally:
        batiste.flax.uninstall()


def test_generations_that_there_are_not():
    before = _state()
    with pytest.raises(ImportError, match="no generation '0.7'.*'0.6'.*or '0.12'"):
        batiste.flax.install("0.7")
    assert _state() == before


def test_flags_that_the_environment_sets_stay(monkeypatch):
    monkeypatch.setenv("FLAX_RETURN_FROZENDICT", "true")
    monkeypatch.setenv("BATISTE_EARLY_STOPPING_PAIR", "true")
    batiste.flax.install("0.12")
    try:
        assert config.return_frozendict
        assert config.early_stopping_pair
        assert config.use_orbax_checkpointing
    finally:
        batiste.flax.uninstall()


def test_a_first_import_after_other_modules_of_batiste(run):
    program = """
        import batiste.flax
        batiste.flax.install("0.12")
        from batiste.core.config import config
        assert config.return_frozendict
        import flax
        assert not config.return_frozendict
        batiste.flax.uninstall()
        assert config.return_frozendict
        """
    run("-c", "if 1:" + program)


def test_installing_loads_neither_jax_nor_numpy(run):
    program = "import batiste.flax, sys; batiste.flax.install(); print(*sys.modules)"
    loaded = set(run("-c", program).split())
    assert "batiste.flax.finder" in loaded
    assert not loaded & {"jax", "numpy", "batiste.core", "flax"}


def test_the_released_flax_imported_before(run, released_flax):
    program = """
        import flax.core, batiste.flax
        try:
            batiste.flax.install()
        except batiste.flax.FlaxImportedError as error:
            print(error, error.modules, sep="|")
        import sys
        assert sys.modules["flax"].__version__ == "9.9.9"
        assert batiste.flax.installed_generation() is None
        """
    text = run("-c", "if 1:" + program, env={"PYTHONPATH": str(released_flax)})
    assert "the released flax is imported already (flax, flax.core, from " in text
    assert str(released_flax) in text
    assert "before anything imports flax" in text
    assert "['flax', 'flax.core']" in text


def test_the_released_flax_is_hidden_and_left_alone(run, released_flax):
    before = {p: p.read_bytes() for p in released_flax.rglob("*") if p.is_file()}
    program = """
        import batiste.flax, importlib.metadata, importlib.util
        batiste.flax.install()
        import flax, flax.core
        assert flax.__version__ == importlib.metadata.version("flax") == "0.12.8"
        assert not hasattr(flax.core, "released")
        batiste.flax.uninstall()
        assert importlib.metadata.version("flax") == "9.9.9"
        assert "site" in importlib.util.find_spec("flax").origin
        import flax, flax.core
        assert flax.__version__ == "9.9.9" and flax.core.released
        """
    env = {"PYTHONPATH": str(released_flax), "PYTHONDONTWRITEBYTECODE": "1"}
    run("-c", "if 1:" + program, env=env)
    after = {p: p.read_bytes() for p in released_flax.rglob("*") if p.is_file()}
    assert after == before


def test_the_environment_of_children(monkeypatch):
    folders = os.pathsep.join(["one", children.STARTUP, "two"])
    monkeypatch.setenv("PYTHONPATH", folders)
    children.prepare("0.6")
    children.prepare("0.12")
    parts = os.environ["PYTHONPATH"].split(os.pathsep)
    assert parts == [children.STARTUP, "one", "two"]
    assert os.environ[children.VARIABLE] == "0.12"
    children.forget()
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["one", "two"])
    assert children.VARIABLE not in os.environ
    monkeypatch.delenv("PYTHONPATH")
    children.prepare("0.6")
    children.forget()
    assert "PYTHONPATH" not in os.environ

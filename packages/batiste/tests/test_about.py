"""What `python -m batiste` tells, also where something is missing or broken."""

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from batiste import about as about_module
from batiste.about import about, lines, main

PIECES = {
    "batiste",
    *(
        f"batiste-{p}"
        for p in "core linen serialization spmd training traverse".split()
    ),
}


def test_each_piece_has_its_version():
    assert about()["pieces"] == {name: metadata.version(name) for name in PIECES}


def test_a_package_that_is_missing_is_none(monkeypatch):
    monkeypatch.setattr(about_module, "_OTHERS", ("jax", "batiste-no-such-thing"))
    packages = about()["packages"]
    assert packages["jax"] == metadata.version("jax")
    assert packages["batiste-no-such-thing"] is None


def test_the_devices_are_those_of_jax():
    import jax

    devices = about()["devices"]
    assert devices["backend"] == jax.default_backend()
    assert devices["count"] == jax.device_count()
    assert devices["kinds"] == sorted({d.device_kind for d in jax.devices()})
    assert devices["x64"] is jax.config.jax_enable_x64


def test_flags_have_values_and_sources():
    from batiste import config

    with config.temp_flip_flag("profile", False):
        told = about()["config"]
    assert told["profile"] == {"value": False, "source": "set"}
    assert told["verify_checkpoints"]["source"] == "default"
    assert told.keys() == config.sources().keys()


def test_the_drop_in_is_told_when_it_is_active(flax):
    report = about()
    assert report["drop_in"] == {
        "active": True,
        "generation": "0.12",
        "flax": "Batiste",
    }
    assert report["config"]["return_frozendict"] == {"value": False, "source": "set"}
    assert any("active, generation 0.12" in line for line in lines(report))


def test_the_drop_in_is_told_when_it_is_not():
    drop_in = about()["drop_in"]
    assert drop_in["active"] is False
    assert drop_in["generation"] is None
    assert any("not active" in line for line in lines(about()))


def test_the_command_prints_what_people_read(run):
    env = {"BATISTE_PROFILE": "0"}
    printed = run("-m", "batiste", env=env)
    for name in (*PIECES, "jax", "python", "devices:", "drop-in", "config:"):
        assert any(line.startswith(name) for line in printed.splitlines())
    assert "False (BATISTE_PROFILE)" in printed
    assert "BATISTE_PROFILE             0" in printed


def test_the_command_prints_json(run):
    report = json.loads(run("-m", "batiste", "--json"))
    assert report.keys() == about().keys()
    assert report["pieces"].keys() == PIECES


def test_under_the_drop_in_the_flags_are_those_of_a_program(run):
    for generation, frozen in (("0.12", False), ("0.6", True)):
        command = ("-m", "batiste.flax", "--generation", generation)
        report = json.loads(run(*command, "-m", "batiste", "--json"))
        assert report["drop_in"]["generation"] == generation
        assert report["config"]["return_frozendict"]["value"] is frozen


def test_devices_that_cannot_be_had_are_told_and_the_rest_shown(run):
    report = json.loads(run("-m", "batiste", "--json", env={"JAX_PLATFORMS": "nope"}))
    assert "nope" in report["devices"]["error"]
    assert report["pieces"].keys() == PIECES
    assert report["environment"]["JAX_PLATFORMS"] == "nope"


def test_a_bad_variable_is_told_and_the_rest_shown(run):
    report = json.loads(run("-m", "batiste", "--json", env={"BATISTE_PROFILE": "x"}))
    assert "BATISTE_PROFILE" in report["config"]["error"]
    assert report["devices"]["count"] >= 1


def test_without_any_other_piece_or_package_it_still_tells(run, tmp_path):
    source = Path(about_module.__file__)
    (tmp_path / "batiste").mkdir()
    for name in ("about.py", "__main__.py"):
        shutil.copy(source.with_name(name), tmp_path / "batiste" / name)
    # Nothing but the standard library, and these two files in the current folder.
    printed = run("-S", "-m", "batiste", "--json", env={"PYTHONPATH": ""})
    report = json.loads(printed)
    assert report["pieces"].pop("batiste") == "not installed, but on the path"
    assert set(report["pieces"].values()) == {None}
    assert set(report["packages"].values()) == {None}
    for part in ("devices", "config", "drop_in"):
        assert "ModuleNotFoundError" in report[part]["error"]
    assert list(lines(report))


def test_a_piece_whose_files_are_gone_is_told(monkeypatch):
    monkeypatch.setitem(about_module._PIECES, "batiste-core", "batiste.gone")
    version = metadata.version("batiste-core")
    told = about()["pieces"]["batiste-core"]
    assert told == f"{version}, but its module is missing"


def test_a_terminal_of_another_encoding_is_no_error(run):
    env = {"PYTHONIOENCODING": "ascii", "JAX_SOMETHING": "\u00fc"}
    assert "\\xfc" in run("-m", "batiste", env=env)


@pytest.mark.skipif(os.name == "nt", reason="pipes differ on Windows")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_had_enough(options, unbuffered):
    source, sink = os.pipe()
    os.close(source)
    done = subprocess.run(
        [sys.executable, "-m", "batiste", *options],
        stdout=sink,
        stderr=subprocess.PIPE,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": unbuffered},
        timeout=120,
        check=False,
    )
    os.close(sink)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_unknown_option_is_an_error(capsys):
    with pytest.raises(SystemExit) as info:
        main(["--yaml"])
    assert info.value.code == 2
    assert "unrecognized arguments: --yaml" in capsys.readouterr().err

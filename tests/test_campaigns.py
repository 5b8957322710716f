"""The campaigns run, print figures and fail on findings; at length only by nox."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAMPAIGNS = ROOT / "tests" / "campaigns"
SHORT = {
    "fuzz": ("--minutes", "0.02", "--only", "grammar"),
    "kill": ("--kills", "2", "--readers", "1", "--only", "msgpack"),
    "flips": ("--flips", "25", "--orbax", "0"),
    "threads": ("--rounds", "1", "--threads", "4", "--numbers", "1"),
    "interrupts": ("--share", "0.01", "--only", "core"),
}


def run(name, *options, cwd, script=None):
    return subprocess.run(
        [sys.executable, script or CAMPAIGNS / f"{name}.py", *options],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_each_campaign_is_tried():
    assert {path.stem for path in CAMPAIGNS.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_a_short_campaign_finds_nothing_and_prints_figures(tmp_path, name):
    done = run(name, *SHORT[name], "--seed", "5", "--out", "found", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name}: 0 findings" in done.stdout
    assert "seed 5" in done.stdout
    assert "----" in done.stdout
    assert not any((tmp_path / "found").glob("*-*"))


def test_files_of_other_formats_are_tried_too(tmp_path):
    options = ("--minutes", "0.05", "--only", "files", "--out", "found")
    done = run("fuzz", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " converted, slowest " in done.stdout
    assert not any((tmp_path / "found").glob("*-*"))


@pytest.mark.parametrize("name", SHORT)
def test_each_campaign_explains_its_options(tmp_path, name):
    done = run(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--seed" in done.stdout
    assert "--out" in done.stdout


BROKEN = {
    "flips": "from batiste.serialization import integrity\n"
    "integrity.verify = lambda *args: None\n",
    "fuzz": "from batiste.serialization import msgpack_codec\n"
    "msgpack_codec.decode = lambda *args: 1 / 0\n",
    "threads": "import random, numpy as np\nfrom batiste import serialization\n"
    "serialization.from_bytes = lambda t, d: random.random()\n",
    "interrupts": "from batiste.core.scope import functions\n"
    "from batiste.core.config import config\n"
    "from batiste.core import scope\n"
    "real = functions._run\n"
    "def run(*args):\n"
    "    config.__dict__.pop('profile', None)\n"
    "    config._flips['profile'].add(1)\n"
    "    y = real(*args)\n"
    "    config._flips['profile'].clear()\n"
    "    config.__dict__['profile'] = True\n"
    "    return y\n"
    "functions._run = run\n",
    "kill": "from batiste.training.checkpoints import removal\n"
    "removal.clean_leftovers = lambda *args: 1 / 0\n",
}


def test_a_file_that_is_too_large_to_read_is_found(tmp_path):
    script = broken(
        tmp_path,
        "fuzz",
        "from batiste.serialization import listing\n"
        "real = listing.rows\n"
        "listing.rows = lambda *args: bytes(2**26) and real(*args)\n",
    )
    options = ("--minutes", "0.05", "--only", "files", "--out", "found")
    done = run("fuzz", *options, cwd=tmp_path, script=script)
    assert done.returncode == 1, done.stdout + done.stderr
    (folder,) = (tmp_path / "found").glob("fuzz-*")
    assert (folder / "input").exists()
    assert "bytes" in (folder / "finding.txt").read_text()


@pytest.mark.parametrize("name", BROKEN)
def test_a_campaign_finds_what_is_broken(tmp_path, name):
    script = broken(tmp_path, name, BROKEN[name])
    done = run(name, *SHORT[name], "--out", "found", cwd=tmp_path, script=script)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FOUND" in done.stdout
    assert list((tmp_path / "found").glob(f"{name}-*/finding.txt"))


def broken(tmp_path, name, how):
    # A program that breaks something first, and then is the campaign.
    script = tmp_path / f"{name}.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(CAMPAIGNS)!r})\n{how}"
        f"__file__ = {str(CAMPAIGNS / name)!r} + '.py'\n"
        "exec(compile(open(__file__).read(), __file__, 'exec'))\n"
    )
    return script

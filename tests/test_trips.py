"""How far one call travels through our own code, and the README that shows it."""

import importlib.util
import re
from pathlib import Path

import pytest

import batiste
from batiste import linen as nn

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("trips", ROOT / "benchmarks" / "trips.py")
assert SPEC is not None
assert SPEC.loader is not None
trips = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(trips)

FOLDERS = tuple(f"{path}/" for path in batiste.__path__)
PROGRAMS = trips.programs(nn)


# For each program, how many files and calls of ours it may enter.
@pytest.mark.parametrize(
    ("program", "files", "calls"),
    [
        ("Dense apply", 12, 30),
        ("Dense init", 16, 60),
        ("nn.scan of Dense apply", 24, 130),
        ("nn.scan of GRU apply", 25, 265),
        ("nn.RNN of GRU apply", 29, 340),
    ],
)
def test_a_call_does_not_travel_far(program, files, calls):
    made = trips.calls_of(PROGRAMS[program], FOLDERS)
    assert len(made) <= calls, "\n".join(trips.route(made))
    assert len({call.file for call in made}) <= files


def test_routes_fold_what_repeats():
    call = trips.Call
    calls = [call(0, "a.py", "f"), *[call(1, "b.py", "g"), call(2, "c.py", "h")] * 2]
    assert list(trips.route(calls)) == ["a.py:f", "  b.py:g  x 2", "    c.py:h"]


def test_the_readme_of_modules_shows_calls_that_are_made():
    (folder,) = map(Path, nn.__path__)
    text = (folder / "module" / "README.md").read_text()
    shown = re.findall(r"^ *((?:linen|core)/\S+\.py:\S+)", text, re.MULTILINE)
    made = trips.calls_of(PROGRAMS["Dense apply"], FOLDERS)
    gone = set(shown) - {f"{call.file}:{call.function}" for call in made}
    assert shown
    assert not gone, 'paste: python benchmarks/trips.py --route "Dense apply"'

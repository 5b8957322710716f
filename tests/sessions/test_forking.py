"""Which examples are tested, where, and what is said of those that fail."""

import contextlib
import datetime
from pathlib import Path
from typing import Any

import forking
import pytest
from forking import OF_THE_DAY, choose, example_names, of_the_day, run_examples
from nox.command import CommandFailed

NAMES = ["lm1b", "mnist", "ppo", "vae", "wmt"]
DAY = datetime.date(2026, 3, 1)


class _Session:
    """Notes what a session does; `error` ends it, as nox's does."""

    def __init__(self, failing=()):
        self.failing, self.folder = failing, Path()
        self.ran, self.logged = [], []

    def run(self, *command, external):
        files = sorted(path.name for path in self.folder.iterdir())
        self.ran.append((self.folder, command, files))
        if self.folder.name in self.failing:
            raise CommandFailed("tests failed")

    @contextlib.contextmanager
    def chdir(self, folder):
        self.folder = folder
        yield

    def log(self, text):
        self.logged.append(text)

    def error(self, text):
        raise RuntimeError(text)


def a_session(**options) -> Any:
    return _Session(**options)


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("mnist", "vae", "quickstart"):
        folder = tmp_path / "examples" / name
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "main.py").touch()
        if name != "quickstart":
            (folder / "requirements.txt").touch()
    monkeypatch.setattr(forking, "ROOT", tmp_path)
    monkeypatch.setattr(
        forking, "example_names", lambda: example_names(tmp_path / "examples")
    )
    return tmp_path


@pytest.fixture
def installed(monkeypatch):
    found = {}
    monkeypatch.setattr(forking, "wheel_requirements", lambda *_: ["batiste @ file:w"])
    monkeypatch.setattr(forking, "fresh_environment", lambda _, name: Path(name))
    monkeypatch.setattr(
        forking,
        "install_into",
        lambda _, python, what: found.update({str(python): what}),
    )
    return found


def test_an_example_is_a_folder_with_requirements(root):
    assert example_names(root / "examples") == ["mnist", "vae"]
    assert "quickstart" not in example_names()


def test_all_are_chosen_or_those_named():
    assert choose(NAMES, [], DAY) == NAMES
    assert choose(NAMES, ["vae", "lm1b"], DAY) == ["vae", "lm1b"]


def test_an_unknown_name_is_an_error():
    message = "no example cats, dogs: give --of-the-day or some of lm1b, mnist, ppo"
    with pytest.raises(ValueError, match=message):
        choose(NAMES, ["vae", "dogs", "cats"], DAY)
    with pytest.raises(ValueError, match="no example --of-the-day"):
        choose(NAMES, [OF_THE_DAY, "vae"], DAY)


def test_each_day_has_two_and_they_are_always_the_same():
    for names in (NAMES, NAMES[:4]):
        days = [DAY + datetime.timedelta(days=n) for n in range(len(names))]
        found = [choose(names, [OF_THE_DAY], day) for day in days]
        assert found == [choose(names, [OF_THE_DAY], day) for day in days]
        assert {len(each) for each in found} == {2}
        # None is left out, nor more often chosen than another.
        assert sorted(name for each in found for name in each) == sorted(2 * names)


def test_where_there_is_one_it_is_chosen_every_day():
    assert of_the_day(["mnist"], DAY) == ["mnist"]


def test_each_is_copied_out_and_has_an_environment_of_its_own(root, installed):
    session = a_session()
    run_examples(session, [])
    (first, command, files), (second, _, _) = session.ran
    assert command == ("example-mnist", "-m", "pytest")
    assert files == ["main.py", "requirements.txt"]
    assert root not in first.parents
    assert first.name == "mnist"
    assert not first.exists()
    assert installed == {
        f"example-{folder.name}": [
            "batiste @ file:w",
            "-r",
            str(folder / "requirements.txt"),
        ]
        for folder in (first, second)
    }
    for name in ("mnist", "vae"):
        assert f"{name:<16} passed      0 s" in session.logged


@pytest.mark.usefixtures("root", "installed")
def test_the_others_are_run_where_one_fails_and_it_is_named():
    session = a_session(failing=["mnist"])
    with pytest.raises(RuntimeError, match="tests failed of: mnist$"):
        run_examples(session, [])
    assert len(session.ran) == 2
    assert "mnist            FAILED      0 s" in session.logged


@pytest.mark.usefixtures("root", "installed")
def test_what_is_no_example_ends_the_session_before_anything_is_built():
    session = a_session()
    with pytest.raises(RuntimeError, match="no example quickstart: "):
        run_examples(session, ["quickstart"])
    assert not session.ran


def test_what_every_change_must_pass_has_two_of_them():
    text = (Path(__file__).parents[2] / ".ci" / "run").read_text("utf-8")
    assert f"nox --sessions examples -- {OF_THE_DAY}\n" in text

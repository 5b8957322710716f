"""The browser and Graphviz are found, or installed, or asked for."""

import shutil
from typing import Any

import programs
import pytest
from nox.command import CommandFailed
from programs import find_chromium, offer_dot


class _Session:
    """Notes what a session does; `error` ends it, as nox's does."""

    def __init__(self, machine, *, fails=False):
        self.machine, self.fails = machine, fails
        self.ran, self.logged = [], []

    def run(self, *command, **options):
        self.ran.append(command)
        if self.fails:
            raise CommandFailed("no network")
        if "install" in command:
            self.machine.add({"graphviz": "dot"}.get(command[-1], command[-1]))

    def log(self, text):
        self.logged.append(text)

    warn = log

    def error(self, text):
        raise RuntimeError(text)


def a_session(*args, **options) -> Any:
    return _Session(*args, **options)


@pytest.fixture
def machine(monkeypatch):
    there = {"apt-get"}
    monkeypatch.delenv("BATISTE_CHROMIUM", raising=False)
    monkeypatch.setattr(
        shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None
    )
    monkeypatch.setattr(programs.os, "geteuid", lambda: 0, raising=False)
    return there


def test_a_browser_that_is_there_is_taken(machine):
    machine.add("google-chrome")
    session = a_session(machine)
    assert find_chromium(session) == "/usr/bin/google-chrome"
    assert not session.ran


def test_a_browser_that_is_named_is_taken(machine, monkeypatch):
    machine.update({"chromium", "mine"})
    monkeypatch.setenv("BATISTE_CHROMIUM", "mine")
    assert find_chromium(a_session(machine)) == "mine"


def test_a_named_one_that_is_not_there_is_an_error(machine, monkeypatch):
    monkeypatch.setenv("BATISTE_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(RuntimeError, match=r"/nowhere/chromium.*apt-get install"):
        find_chromium(a_session(machine))


def test_a_missing_one_is_installed_by_root(machine):
    session = a_session(machine)
    assert find_chromium(session) == "/usr/bin/chromium"
    assert session.ran[-1][-1] == "chromium"


def test_what_cannot_be_installed_is_asked_for(machine, monkeypatch):
    with pytest.raises(RuntimeError, match="BATISTE_CHROMIUM"):
        find_chromium(a_session(machine, fails=True))
    monkeypatch.setattr(programs.os, "geteuid", lambda: 1000, raising=False)
    session = a_session(machine)
    with pytest.raises(RuntimeError, match="apt-get install chromium"):
        find_chromium(session)
    assert not session.ran


def test_graphviz_is_installed_or_done_without(machine):
    session = a_session(machine)
    offer_dot(session)
    assert "dot" in machine
    without = a_session(set(), fails=True)
    machine.discard("dot")
    offer_dot(without)
    assert "texts" in without.logged[-1]

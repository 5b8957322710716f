"""Programs that the book's sessions use, installed by the system where they can be."""

import os
import shutil

import nox
from nox.command import CommandFailed

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
ADVICE = (
    "docs-test needs Chromium: install it (Debian: apt-get install chromium), or say "
    "where it is by the environment variable BATISTE_CHROMIUM"
)


def find_chromium(session: nox.Session) -> str:
    """Returns the path of Chromium, which is installed where that can be done."""
    named = os.environ.get("BATISTE_CHROMIUM")
    if named and shutil.which(named) is None:
        session.error(f"BATISTE_CHROMIUM is {named}, which is no program. {ADVICE}")
    return named or _program(session, "chromium", CHROMIUM) or session.error(ADVICE)


def offer_dot(session: nox.Session) -> None:
    """Installs Graphviz where that can be done; the book is built without it, too."""
    if _program(session, "graphviz", ("dot",)) is None:
        session.log("there is no Graphviz: its pictures will be texts")


def _program(session: nox.Session, package: str, names: tuple[str, ...]) -> str | None:
    """Returns the path of a program; installs Debian's package if there is none."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if found or not root or shutil.which("apt-get") is None:
        return found
    session.log(f"installing {package}")
    command = ("apt-get", "install", "-q", "-y", "--no-install-recommends", package)
    try:
        session.run("apt-get", "update", "-q", external=True, silent=True)
        session.run(*command, external=True, silent=True)
    except CommandFailed as error:
        session.warn(f"{package} could not be installed: {error}")
    return next((path for name in names if (path := shutil.which(name))), None)

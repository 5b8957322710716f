"""Processes that a program starts find Batiste under the name `flax`, too.

A new interpreter imports `sitecustomize` before anything else. The folder
`startup`, put in front of PYTHONPATH, has one that installs the drop-in and then
runs the one that would have been found without it. Interpreters that do not read the
environment (`python -E`, `-I`) or do not import site (`-S`) are out of reach.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["STARTUP", "VARIABLE", "forget", "prepare"]

# Says which generation a new interpreter is to install.
VARIABLE = "BATISTE_FLAX_GENERATION"

STARTUP = str(Path(__file__).resolve().parent / "startup")


def prepare(generation: str) -> None:
    """Lets the processes that this one starts install a generation.

    >>> prepare("0.12")
    >>> os.environ["PYTHONPATH"].split(os.pathsep)[0] == STARTUP
    True
    >>> forget()
    """
    os.environ[VARIABLE] = generation
    _set_path([STARTUP, *_other_folders()])


def forget() -> None:
    """Undoes `prepare`.

    >>> forget()
    >>> VARIABLE in os.environ
    False
    """
    os.environ.pop(VARIABLE, None)
    _set_path(_other_folders())


def _other_folders() -> list[str]:
    text = os.environ.get("PYTHONPATH", "")
    return [folder for folder in text.split(os.pathsep) if folder and folder != STARTUP]


def _set_path(folders: list[str]) -> None:
    if folders:
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    else:
        os.environ.pop("PYTHONPATH", None)

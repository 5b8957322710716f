"""Run a program with `flax` resolved to Batiste.

python -m batiste.flax [--generation G] script.py [argument ...]
python -m batiste.flax [--generation G] -m package.module [argument ...]
python -m batiste.flax [--generation G] -c code [argument ...]
python -m batiste.flax [--generation G] - [argument ...]
"""

from __future__ import annotations

import argparse
import sys

from .generations import DEFAULT, VERSIONS
from .installing import install
from .running import run_code, run_input, run_module, run_script

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m batiste.flax",
        usage="%(prog)s [-h] [--generation {0.6,0.12}] "
        "(script | -m module | -c code | -) [argument ...]",
        description="Run a program written for flax, with Batiste in its place.",
    )
    parser.add_argument(
        "--generation",
        choices=list(VERSIONS),
        default=DEFAULT,
        help="whose defaults to set: those of flax 0.6.9, or those of flax 0.12.8 "
        "(%(default)s if not given)",
    )
    return parser


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Splits into the options of this command, and all from the program on."""
    at = 0
    while at < len(arguments):
        argument = arguments[at]
        if argument == "--generation":
            at += 2
        elif argument in ("-h", "--help") or argument.startswith("--"):
            at += 1
        else:
            break
    return arguments[:at], arguments[at:]


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see the module's docstring.

    Args:
      arguments: those after the command's name; those of this process if None.
    """
    parser = _parser()
    own, program = _split(sys.argv[1:] if arguments is None else arguments)
    generation = parser.parse_args(own).generation
    if not program:
        parser.error("name a script, give -m module or -c code, or - for its text")
    kind, rest = program[0], program[1:]
    for option in ("-m", "-c"):
        if kind.startswith(option) and kind != option:  # as in `-mpackage.module`
            kind, rest = option, [kind[2:], *rest]
    if kind in ("-m", "-c") and not rest:
        parser.error(f"argument expected for the {kind} option")
    if kind.startswith("-") and kind not in ("-m", "-c", "-"):
        parser.error(f"unknown option {kind}")
    install(generation)
    if kind == "-m":
        run_module(rest[0], rest[1:])
    elif kind == "-c":
        run_code(rest[0], rest[1:])
    elif kind == "-":
        run_input(rest)
    else:
        run_script(kind, rest)


if __name__ == "__main__":
    main()

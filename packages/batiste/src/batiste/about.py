"""What is installed and how it is set: what `python -m batiste` prints.

A report of a fault begins with it. A piece that is missing or broken is told of, and
the rest is shown all the same.

>>> from batiste.about import about
>>> sorted(about())
['config', 'devices', 'drop_in', 'environment', 'packages', 'pieces', 'python']
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any

__all__ = ["about", "lines", "main"]

# The pieces, by the module that each brings.
_PIECES = {
    "batiste": "batiste.about",
    "batiste-core": "batiste.core",
    "batiste-linen": "batiste.linen",
    "batiste-serialization": "batiste.serialization",
    "batiste-spmd": "batiste.spmd",
    "batiste-training": "batiste.training",
    "batiste-traverse": "batiste.traverse",
}
_OTHERS = (
    *("jax", "jaxlib", "numpy", "ml-dtypes", "msgpack", "optax", "orbax-checkpoint"),
    *("rich", "tensorboard", "typing-extensions", "flax"),
)
# What shells report of a program that a closed pipe has ended.
_BROKEN_PIPE = 141
_VARIABLES = ("BATISTE_", "FLAX_", "JAX_", "XLA_", "LIBTPU_", "CUDA_VISIBLE")


def about() -> dict[str, Any]:
    """Returns what is installed and how it is set, in types that JSON has.

    Returns:
      A dict. `pieces` and `packages` have the versions of Batiste's packages and of
      those that it uses, None for one that is missing; `python` the interpreter and the
      system; `devices` what JAX finds; `config` each flag with its value and its source
      (`default`, an environment variable, or `set`); `drop_in` whether the name `flax`
      means Batiste; `environment` the variables that JAX and Batiste read. Where one of
      them cannot be told, it is a dict with the key `error`.

    >>> about()['pieces']['batiste-core'] is None
    False
    """
    return {
        "pieces": {name: _piece(name) for name in _PIECES},
        "packages": {name: _version(name) for name in _OTHERS},
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": platform.platform(),
        },
        "devices": _told(_devices),
        "config": _told(_config),
        "drop_in": _told(_drop_in),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_VARIABLES)
        },
    }


def _told(ask: Callable[[], Any]) -> Any:
    """Returns what is asked for, or why it cannot be had."""
    try:
        return ask()
    # Whatever is broken, the report is about it.
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _piece(distribution: str) -> str | None:
    """Returns the version of a piece, also of one that is only on the path."""
    version = _version(distribution)
    found = importlib.util.find_spec(_PIECES[distribution]) is not None
    if found:
        return version or "not installed, but on the path"
    return None if version is None else f"{version}, but its module is missing"


def _devices() -> dict[str, Any]:
    jax = importlib.import_module("jax")
    devices = jax.devices()
    return {
        "backend": jax.default_backend(),
        "kinds": sorted({device.device_kind for device in devices}),
        "count": len(devices),
        "local_count": jax.local_device_count(),
        "processes": jax.process_count(),
        "x64": bool(jax.config.jax_enable_x64),
    }


def _config() -> dict[str, dict[str, Any]]:
    installing = importlib.import_module("batiste.flax.installing")
    if installing.installed_generation() is not None:
        # The drop-in sets its flags when flax is first imported.
        importlib.import_module("flax")
    config = importlib.import_module("batiste.core.config").config
    return {
        name: {"value": getattr(config, name), "source": source}
        for name, source in sorted(config.sources().items())
    }


def _drop_in() -> dict[str, Any]:
    installing = importlib.import_module("batiste.flax.installing")
    generation = installing.installed_generation()
    found = importlib.util.find_spec("flax")
    if generation is not None:
        flax = "Batiste"
    else:
        flax = None if found is None else found.origin
    return {"active": generation is not None, "generation": generation, "flax": flax}


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines in which people read what `about` returns.

    Args:
      report: that.

    >>> report = about()
    >>> next(lines(report)).split()[0]
    'batiste'
    """
    for name, version in {**report["pieces"], **report["packages"]}.items():
        yield f"{name:<24}{version or 'missing'}"
    python = report["python"]
    yield f"{'python':<24}{python['version']} ({python['implementation']})"
    yield f"{'system':<24}{python['system']}"
    yield from _section("devices", report["devices"])
    drop_in = report["drop_in"]
    if "error" in drop_in:
        yield from _section("drop-in", drop_in)
    elif drop_in["active"]:
        yield f"{'drop-in':<24}active, generation {drop_in['generation']}"
    else:
        yield f"{'drop-in':<24}not active; flax is {drop_in['flax'] or 'missing'}"
    config = report["config"]
    if "error" not in config:
        config = {k: f"{v['value']} ({v['source']})" for k, v in config.items()}
    yield from _section("config", config)
    yield from _section("environment", report["environment"])


def _section(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield f"{title}:"
    for name, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"    {name:<28}{shown}"


def main(arguments: list[str] | None = None) -> int:
    """Prints what is installed and how it is set.

    Args:
      arguments: those after the command's name; those of this process if None.

    Returns:
      The exit status: 0, or 141 if whoever reads the output, such as `head`, has had
      enough.
    """
    parser = argparse.ArgumentParser(
        prog="python -m batiste",
        description="Print what of Batiste is installed, and how it is set.",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    report_as_json = parser.parse_args(arguments).json
    report = about()
    text = json.dumps(report, indent=2) if report_as_json else "\n".join(lines(report))
    # A terminal of another encoding shows what it can.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        # Nothing is left for Python to fail at when it writes out the rest at its end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return _BROKEN_PIPE
    return 0

"""Defining flags, whose first values are those of environment variables."""

from __future__ import annotations

import os

from .settings import FlagHolder, bare_name, config

__all__ = [
    "bool_flag",
    "define_bool_state",
    "int_flag",
    "static_bool_env",
    "static_int_env",
]

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


def static_bool_env(varname: str, default: bool) -> bool:
    """Reads an environment variable as a boolean.

    Args:
      varname: the variable. `y, yes, t, true, on, 1` are true and
        `n, no, f, false, off, 0` are false, in any case.
      default: the result if it is not set.

    Returns:
      Its value.

    Raises:
      ValueError: it has another value.

    >>> static_bool_env('BATISTE_NOT_SET', True)
    True
    """
    text = os.environ.get(varname)
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(
        f"The environment variable {varname} has the value {text!r}, which is neither "
        f"true ({', '.join(_TRUE)}) nor false ({', '.join(_FALSE)})."
    )


def static_int_env(varname: str, default: int | None) -> int | None:
    """Reads an environment variable as an integer.

    Args:
      varname: the variable.
      default: the result if it is not set.

    Returns:
      Its value.

    Raises:
      ValueError: it is set to something else.

    >>> static_int_env('BATISTE_NOT_SET', 3)
    3
    """
    text = os.environ.get(varname)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"The environment variable {varname} has the value {text!r}, which is no "
            "integer."
        ) from None


def _env_names(name: str) -> tuple[str, str]:
    return f"FLAX_{name.upper()}", f"BATISTE_{name.upper()}"


def _source(name: str) -> str:
    """The environment variable that gives the flag its first value, or "default"."""
    found = [varname for varname in _env_names(name) if varname in os.environ]
    return found[-1] if found else "default"


def bool_flag(name: str, *, default: bool, help: str) -> FlagHolder[bool]:
    """Defines a flag that is True or False.

    Its first value is that of the environment variable `BATISTE_<NAME>`, or else
    `FLAX_<NAME>`, or else the default.

    Args:
      name: the flag's name; a prefix `flax_` or `batiste_` is dropped.
      default: the value without an environment variable.
      help: what the flag does.

    Returns:
      A holder, to read the flag by `.value` and to give to `config.update`.

    Raises:
      RuntimeError: the flag is already defined.
      ValueError: an environment variable does not read as a boolean.

    >>> bool_flag('filter_frames', default=True, help='A flag of a taken name.')
    Traceback (most recent call last):
        ...
    RuntimeError: Flag "filter_frames" is already defined.
    """
    name = bare_name(name)
    value = default
    for varname in _env_names(name):
        value = static_bool_env(varname, value)
    config.define(name, bool, value, _source(name))
    return FlagHolder(name, help)


def int_flag(name: str, *, default: int | None, help: str) -> FlagHolder[int | None]:
    """Defines a flag that is an integer or None; see `bool_flag`.

    >>> int_flag('filter_frames', default=3, help='A flag of a taken name.')
    Traceback (most recent call last):
        ...
    RuntimeError: Flag "filter_frames" is already defined.
    """
    name = bare_name(name)
    value = default
    for varname in _env_names(name):
        value = static_int_env(varname, value)
    config.define(name, int, value, _source(name))
    return FlagHolder(name, help)


def define_bool_state(name: str, default: bool, help: str) -> FlagHolder[bool]:
    """Defines a boolean flag: `bool_flag` with positional arguments.

    >>> define_bool_state('filter_frames', True, 'A flag of a taken name.')
    Traceback (most recent call last):
        ...
    RuntimeError: Flag "filter_frames" is already defined.
    """
    return bool_flag(name, default=default, help=help)

"""The set of flags, with a value for each thread or task that asks for one."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from ..errors import FlaxError, name_hint, short_repr

__all__ = [
    "Config",
    "FlagHolder",
    "FlagValueError",
    "UnknownFlagError",
    "bare_name",
    "config",
]

T = TypeVar("T")

_PREFIXES = ("flax_", "batiste_")


class UnknownFlagError(FlaxError, AttributeError, LookupError):
    """A flag was read or set that is not defined.

    Args:
      name: the flag that was asked for.
      known: the flags that are defined.

    >>> print(UnknownFlagError('profil', ['profile']))
    No flag "profil" is defined. The config has "profile"; did you mean "profile"?
    """

    def __init__(self, name: str, known: Iterable[str]):
        text = f'No flag "{name}" is defined.{name_hint(name, known, "The config")}'
        super().__init__(text)
        self.flag = name


class FlagValueError(FlaxError, TypeError, ValueError):
    """A flag was set to a value of the wrong type.

    Args:
      name: the flag.
      value: the value.
      expected: what the flag takes.

    >>> print(FlagValueError('return_frozendict', 'no', 'True or False'))
    Flag "return_frozendict" takes True or False, not 'no' (of type str).
    """

    def __init__(self, name: str, value: object, expected: str):
        super().__init__(
            f'Flag "{name}" takes {expected}, not {short_repr(value)} '
            f"(of type {type(value).__name__})."
        )
        self.flag = name


class _Flip:
    """A flag's value in one block of `temp_flip_flag`, and the block around it."""

    __slots__ = ("active", "outer", "value")

    def __init__(self, value: bool | int | None, outer: _Flip | None):
        self.value, self.outer, self.active = value, outer, True


_NO_FLIPS: Mapping[str, _Flip | None] = MappingProxyType({})


class Config:
    """The set of flags. There is one, `config`.

    A flag is read as an attribute, set for good by `update` or by assignment, and set
    for a block of code by `temp_flip_flag`. In names, a prefix `flax_` or `batiste_` is
    ignored.

    Attributes:
      state: a number for the values that all flags have here and now. What is compiled
        under one state is not to be used under another.

    Raises:
      UnknownFlagError: for a name that is not defined; a subclass of AttributeError
        and LookupError.

    >>> config.return_frozendict
    True
    >>> config.flax_return_frozendict
    True
    """

    # A flag that has its global value everywhere is an instance attribute, so reading
    # it costs what any attribute costs. While some thread or task has a value of its
    # own for a flag, the attribute is absent, and `__getattr__` finds the value.
    state: int
    _globals: dict[str, bool | int | None]
    _first: dict[str, tuple[bool | int | None, str]]
    _types: dict[str, type[bool] | type[int]]
    _flips: dict[str, set[_Flip]]
    _watchers: dict[str, list[Callable[[Any], None]]]
    _states: dict[frozenset[tuple[str, Any]], int]
    _local: ContextVar[Mapping[str, _Flip | None]]
    _lock: threading.RLock

    def __init__(self):
        own = self.__dict__
        own["_globals"], own["_types"], own["_flips"] = {}, {}, {}
        own["_first"], own["_watchers"], own["_states"] = {}, {}, {}
        own["_local"] = ContextVar("batiste_config", default=_NO_FLIPS)
        own["_lock"] = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Not a flag: copy, pickle and inspection ask for such names.
            raise AttributeError(name)
        if name == "state":
            return self._number_of_state()
        name = self._known_name(name)
        flip = self._flip_here(name)
        return self._globals[name] if flip is None else flip.value

    def __setattr__(self, name: str, value: Any) -> None:
        self.update(name, value)

    def __reduce__(self) -> str:
        # There is one. Functions that are pickled by value refer to it.
        return "config"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._globals]

    def __repr__(self) -> str:
        lines = [f"    {name}={getattr(self, name)!r},\n" for name in self._globals]
        return "Config(\n" + "".join(lines) + ")"

    def update(
        self, name_or_holder: str | FlagHolder[Any], value: bool | int | None, /
    ) -> None:
        """Sets a flag.

        The value holds in all threads, except where a block of `temp_flip_flag` gives
        the flag another one. Called within such a block, it changes the value for the
        rest of that block.

        Args:
          name_or_holder: the flag's name, or what `bool_flag` returned.
          value: the new value.

        Raises:
          UnknownFlagError: there is no such flag.
          FlagValueError: the value is of the wrong type.

        >>> config.update('flax_return_frozendict', True)
        """
        if isinstance(name_or_holder, FlagHolder):
            name_or_holder = name_or_holder.name
        name = self._known_name(name_or_holder)
        self._check(name, value)
        flip = self._flip_here(name)
        if flip is not None:
            flip.value = value
        else:
            with self._lock:
                self._globals[name] = value
                if not self._flips[name]:
                    self.__dict__[name] = value
                self._note_state()
        self._tell_watchers(name)

    def watch(self, name: str, fn: Callable[[Any], None]) -> None:
        """Calls a function with a flag's value, now and whenever it is set.

        For what is made once, and depends on a flag. That is the same for all threads:
        it follows the block of `temp_flip_flag` that was entered or left last.

        Args:
          name: the flag's name.
          fn: the function.

        Raises:
          UnknownFlagError: there is no such flag.

        >>> own = Config()
        >>> own.define('depth', int, 3)
        >>> own.watch('depth', print)
        3
        >>> own.update('depth', 4)
        4
        """
        name = self._known_name(name)
        self._watchers.setdefault(name, []).append(fn)
        fn(getattr(self, name))

    def _tell_watchers(self, name: str) -> None:
        for fn in self._watchers.get(name, ()):
            fn(getattr(self, name))

    @contextlib.contextmanager
    def temp_flip_flag(
        self, var_name: str, var_value: bool | int | None
    ) -> Iterator[None]:
        """Gives a flag another value in a `with` block or a decorated function.

        Only the thread (or asyncio task) that enters the block sees the value.

        Args:
          var_name: the flag's name.
          var_value: its value in the block.

        Raises:
          UnknownFlagError: there is no such flag.
          FlagValueError: the value is of the wrong type.

        >>> with config.temp_flip_flag('return_frozendict', False):
        ...     config.return_frozendict
        False
        """
        name = self._known_name(var_name)
        self._check(name, var_value)
        flip = _Flip(var_value, self._flip_here(name))
        try:
            try:
                with self._lock:
                    self._flips[name].add(flip)
                    self.__dict__.pop(name, None)
                    self.__dict__.pop("state", None)
                self._local.set({**self._local.get(), name: flip})
                self._tell_watchers(name)
                yield
            finally:
                self._end(name, flip)
        except BaseException:
            self._end(name, flip)  # an interrupt may have come within the above
            raise

    def _end(self, name: str, flip: _Flip) -> None:
        """Ends a block of `temp_flip_flag`, if that has not been done."""
        flip.active = False
        here = self._local.get()
        if here.get(name) is flip:
            self._local.set({**here, name: flip.outer})
        with self._lock:
            self._flips[name].discard(flip)
            if not self._flips[name]:
                self.__dict__[name] = self._globals[name]
            self._note_state()
        self._tell_watchers(name)

    def _note_state(self) -> None:
        """Lets `state` be an attribute as flags are, or leaves it to `__getattr__`."""
        if any(self._flips.values()):
            self.__dict__.pop("state", None)
        else:
            self.__dict__["state"] = self._number_of_state()

    def _number_of_state(self) -> int:
        # A flag that is defined later, and has its first value, makes no difference.
        values = [(name, getattr(self, name)) for name in tuple(self._globals)]
        changed = frozenset([(n, v) for n, v in values if v != self._first[n][0]])
        with self._lock:
            return self._states.setdefault(changed, len(self._states))

    def _flip_here(self, name: str) -> _Flip | None:
        """The innermost open block that gives the flag a value here, if any."""
        flip = self._local.get().get(name)
        # A task that was started inside a block may outlive it.
        while flip is not None and not flip.active:
            flip = flip.outer
        return flip

    def sources(self) -> dict[str, str]:
        """Tells where the value of each flag comes from.

        Among them are the flags of all packages of Batiste that are installed.

        Returns:
          By the flag's name `"default"`; or the name of the environment variable that
          it has its value from; or `"set"`, where `update` or a block of
          `temp_flip_flag` gave it another one.

        >>> config.sources()['return_frozendict']
        'default'
        >>> with config.temp_flip_flag('return_frozendict', False):
        ...     config.sources()['return_frozendict']
        'set'
        """
        _import_flags()
        with self._lock:
            first = dict(self._first)
        return {
            name: source if getattr(self, name) == value else "set"
            for name, (value, source) in first.items()
        }

    def define(
        self,
        name: str,
        kind: type[bool] | type[int],
        value: bool | int | None,
        source: str = "default",
    ) -> None:
        """Adds a flag; `bool_flag` and `int_flag` do, with the environment's value.

        Args:
          name: the flag's name, without a prefix.
          kind: `bool`, or `int` for a flag that is an integer or None.
          value: the first value.
          source: where that comes from, for `sources`.

        Raises:
          RuntimeError: the flag is already defined, or the name is that of a method.
          FlagValueError: the value is of the wrong type.

        >>> own = Config()
        >>> own.define('depth', int, 3)
        >>> own.depth
        3
        """
        with self._lock:
            if name in self._globals or hasattr(type(self), name):
                raise RuntimeError(f'Flag "{name}" is already defined.')
            self._types[name] = kind
            self._check(name, value)
            self._flips[name], self._first[name] = set(), (value, source)
            self._globals[name] = self.__dict__[name] = value
            self._note_state()

    def _known_name(self, name: str) -> str:
        """The name of a defined flag, without a prefix."""
        if name in self._globals:
            return name
        found = self._without_prefix(name)
        # Tools ask every object for such names as `_repr_html_`.
        if found is None and not name.startswith("_"):
            _import_flags()
            found = self._without_prefix(name)
        if found is None:
            raise UnknownFlagError(name, list(self._globals))
        return found

    def _without_prefix(self, name: str) -> str | None:
        for prefix in ("", *_PREFIXES):
            bare = name.removeprefix(prefix)
            if bare in self._globals:
                return bare
        return None

    def _check(self, name: str, value: object) -> None:
        kind = self._types[name]
        if kind is bool and not isinstance(value, bool):
            raise FlagValueError(name, value, "True or False")
        if kind is int and (
            isinstance(value, bool) or not isinstance(value, int | None)
        ):
            raise FlagValueError(name, value, "an integer or None")


def _import_flags() -> None:
    """Lets every package beside this one define its flags, in its module `flags`."""
    namespace = sys.modules.get("batiste")
    for folder in getattr(namespace, "__path__", ()):
        for file in Path(folder).glob("*/flags.py"):
            importlib.import_module(f"batiste.{file.parent.name}.flags")


class FlagHolder(Generic[T]):
    """A flag as an object, to read it without naming it again.

    It has no truth value, as `if flag:` would always be taken.

    Args:
      name: the flag's name.
      help: what the flag does.

    >>> filter_frames = FlagHolder('filter_frames', 'Hide internal frames.')
    >>> filter_frames.value
    True
    """

    def __init__(self, name: str, help: str):
        self.name = self.__name__ = name
        self.help = self.__doc__ = help

    @property
    def value(self) -> T:
        """The flag's value here and now."""
        return cast(T, getattr(config, self.name))

    def __bool__(self) -> bool:
        raise TypeError(
            f'The flag "{self.name}" has no truth value itself; use its `.value`.'
        )


def bare_name(name: str) -> str:
    """Takes the prefixes off a flag's name, which are ignored.

    >>> bare_name('flax_return_frozendict')
    'return_frozendict'
    """
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


config = Config()

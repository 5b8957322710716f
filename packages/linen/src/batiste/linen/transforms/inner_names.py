"""Names within a lifted call, and around it: a submodule has its name to itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from batiste.core.config import config
from batiste.core.scope.place import BY_LIFTED

from .. import errors
from ..module.state import ModuleBase, state_of

__all__ = [
    "Kind",
    "Names",
    "commit_names",
    "made_names",
    "reserve_names",
    "taken_names",
]

Kind: TypeAlias = Literal["submodule", "variable", "shared"]
"""What has a name that is taken.

A submodule; a variable, whose name other variables may have, but no submodule; or a
submodule that may be made again, whose name no variable may have.
"""

Names: TypeAlias = Mapping[int, Mapping[str, Kind]]
"""For modules of a call, by their numbers, the names that are taken below them."""

_NONE: Final[Names] = {}


class _Shared(frozenset[Any]):
    """Who has a name that submodules may take, but no variable."""

    def __bool__(self) -> bool:
        return False


# Who has the names that a lifted call made: another lifted call may make them again,
# and then the two share what they name, as calls of one submodule do.
_LIFTED: Final[Any] = frozenset({None, BY_LIFTED})
_CHILD: Final[Any] = frozenset({None})
_SHARED: Final[Any] = _Shared({None})


def taken_names(
    modules: Sequence[ModuleBase], around: bool, shares: bool = False
) -> Names:
    """Returns the names that what runs within a lifted call must not take.

    Those of the modules that take part in it and, as the documentation has it (config
    `documented_checks`), of all submodules that were made outside. The names of
    variables that were made outside are taken for submodules.

    Args:
      modules: the modules that take part.
      around: whether names from outside count.
      shares: whether submodules from outside may be made again.

    >>> import batiste.linen as nn
    >>> taken_names([nn.Dense(3)], around=True)
    {}
    """
    around = around and config.documented_checks
    if len(modules) == 1 and not (around and _is_running(modules[0])):
        return _NONE
    found: dict[int, dict[str, Kind]] = {}
    if around:
        for number, module in enumerate(modules):
            if _is_running(module):
                found[number] = _outside(module, shares)
    if len(modules) > 1:
        numbers = {module.scope: n for n, module in enumerate(modules)}
        for module in modules:
            scope: Any = module.scope
            number = numbers.get(scope.parent)
            if number is not None:
                found.setdefault(number, {})[scope.name] = "submodule"
    # `setup` runs again inside, and names its submodules there.
    for number, names in found.items():
        for name in state_of(modules[number]).setup_names:
            names.pop(name, None)
    return found


def reserve_names(scope: Any, taken: Mapping[str, Kind]) -> None:
    """Takes names in a scope within a lifted call, but those that it has already.

    Args:
      scope: the scope inside.
      taken: the names.

    >>> from batiste.core import Scope
    >>> scope = Scope({})
    >>> reserve_names(scope, {"a": "variable"})
    >>> scope.name_reserved("a"), scope.name_reserved("a", "params")
    (True, False)
    """
    reservations = scope.reservations
    for name, kind in taken.items():
        if name not in reservations:
            if kind == "variable":
                reservations[name] = {BY_LIFTED}
            else:
                reservations[name] = _CHILD if kind == "submodule" else _SHARED


def made_names(module: Any, taken: Mapping[str, Kind]) -> tuple[tuple[str, str], ...]:
    """Returns the names that a running module has given inside, and what has them.

    That is "submodule", "param" or "variable".

    Args:
      module: the module inside.
      taken: the names that were taken when the lifted call began.

    >>> import batiste.linen as nn
    >>> made_names(nn.Dense(3), {})
    ()
    """
    if module.scope is None or not module.scope.reservations:
        return ()
    known = state_of(module).setup_names
    made: list[tuple[str, str]] = []
    for name, by in module.scope.reservations.items():
        if by is _SHARED or name in known:
            continue
        if None in by:
            if taken.get(name) != "submodule":
                made.append((name, "submodule"))
        elif by != {BY_LIFTED}:
            made.append((name, "param" if "params" in by else "variable"))
    return tuple(made)


def commit_names(
    module: ModuleBase,
    made: Iterable[tuple[str, str]],
    taken: Mapping[str, Kind],
    shares: bool = False,
) -> None:
    """Lets nothing outside have the names that a lifted call made.

    Args:
      module: the module outside.
      made: the names, and what has them.
      taken: the names that were taken when the call began.
      shares: whether submodules of these names may be made outside.

    Raises:
      NameInUseError: one of the names was taken.
    """
    scope: Any = module.scope
    reservations = scope.reservations
    for name, kind in made:
        outside = reservations.get(name, ())
        if kind == "submodule":
            # Code that was compiled for another call did not meet it.
            clash = taken.get(name) == "submodule"
            clash = clash or bool(outside) and None not in outside
        else:
            clash = None in outside
        if clash and (config.documented_checks or taken.get(name) == "submodule"):
            raise errors.NameInUseError(
                kind, name, type(module).__name__, scope_path=scope.path_text
            )
        if config.documented_checks and not outside:
            if kind == "submodule":
                reservations[name] = _SHARED if shares else _LIFTED
            else:
                reservations[name] = {BY_LIFTED}


def _is_running(module: ModuleBase) -> bool:
    state = state_of(module)
    return state.in_compact or state.in_setup


def _outside(module: ModuleBase, shares: bool) -> dict[str, Kind]:
    names: dict[str, Kind] = {}
    for name, by in (module.scope.reservations if module.scope else {}).items():
        if None not in by:
            if by:
                names[name] = "variable"
        elif shares or by is _LIFTED or by is _SHARED:
            names[name] = "shared"
        else:
            names[name] = "submodule"
    return names

"""Names of submodules within a lifted call, and around it: no two have one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from batiste.core.config import config

from .. import errors
from ..module.state import ModuleBase, state_of

__all__ = ["Names", "commit_names", "made_names", "taken_names"]

Names: TypeAlias = Mapping[int, frozenset[str]]
"""For modules of a call, by their numbers, the names that are taken below them."""

_NONE: Final[Names] = {}

# Who has the names that a lifted call made: another lifted call may make them again,
# and then the two share what they name, as calls of one submodule do.
_LIFTED: Final[Any] = frozenset({None, "(lifted)"})


def taken_names(modules: Sequence[ModuleBase], around: bool) -> Names:
    """Returns the names that what runs within a lifted call must not take.

    Those of the modules that take part in it and, as the documentation has it (config
    `documented_checks`), of all submodules that were made outside.

    Args:
      modules: the modules that take part.
      around: whether names from outside count.

    >>> import batiste.linen as nn
    >>> taken_names([nn.Dense(3)], around=True)
    {}
    """
    around = around and config.documented_checks
    if len(modules) == 1 and not (around and _is_running(modules[0])):
        return _NONE
    found: dict[int, set[str]] = {}
    if len(modules) > 1:
        numbers = {module.scope: n for n, module in enumerate(modules)}
        for module in modules:
            scope: Any = module.scope
            number = numbers.get(scope.parent)
            if number is not None:
                found.setdefault(number, set()).add(scope.name)
    if around:
        for number, module in enumerate(modules):
            if _is_running(module):
                found.setdefault(number, set()).update(_of_submodules(module))
    # `setup` runs again inside, and names its submodules there.
    return {
        number: frozenset(names - state_of(modules[number]).setup_names)
        for number, names in found.items()
    }


def made_names(module: Any, taken: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of the submodules that a running module was given inside.

    Args:
      module: the module inside.
      taken: the names that were taken when the lifted call began.

    >>> import batiste.linen as nn
    >>> made_names(nn.Dense(3), ())
    ()
    """
    if module.scope is None or not module.scope.reservations:
        return ()
    known = {*taken, *state_of(module).setup_names}
    return tuple(
        name
        for name, by in module.scope.reservations.items()
        if None in by and name not in known
    )


def commit_names(module: ModuleBase, made: Iterable[str], taken: Iterable[str]) -> None:
    """Lets nothing outside have the names that a lifted call made.

    Args:
      module: the module outside.
      made: the names.
      taken: the names that were taken when the call began.

    Raises:
      NameInUseError: one of the names was taken.
    """
    scope: Any = module.scope
    for name in made:
        if name in taken:
            # Code that was compiled for another call did not meet it.
            raise errors.NameInUseError(
                "submodule", name, type(module).__name__, scope_path=scope.path_text
            )
        if config.documented_checks:
            scope.reservations.setdefault(name, _LIFTED)


def _is_running(module: ModuleBase) -> bool:
    state = state_of(module)
    return state.in_compact or state.in_setup


def _of_submodules(module: ModuleBase) -> list[str]:
    reservations = module.scope.reservations if module.scope else {}
    return [n for n, by in reservations.items() if None in by and by is not _LIFTED]

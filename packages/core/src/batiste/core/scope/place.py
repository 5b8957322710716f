"""A place in a tree of scopes: its name, what is above it, and the path to it."""

from __future__ import annotations

from typing import Any, Self

from .tree import Tree

__all__ = ["Place"]


class Place:
    """A place in a tree. References go up only: to the place above, and to the tree.

    >>> from batiste.core import Scope
    >>> scope = Scope({}, name=None).push("encoder").push("layer0")
    >>> scope.path, scope.path_text
    (('encoder', 'layer0'), '/encoder/layer0')
    """

    __slots__ = ("_debug_path", "_path", "_tree", "name", "parent")

    name: str | None
    parent: Any  # the place above, or None at the root
    _tree: Tree
    _path: tuple[str, ...] | None
    _debug_path: tuple[str, ...] | None

    def __eq__(self, other: object) -> bool:
        """Two scopes are equal when they are handles on the same place of one tree."""
        if self is other:
            return True
        if not isinstance(other, Place):
            return NotImplemented
        return self._tree is other._tree and self.path == other.path

    def __hash__(self) -> int:
        return hash((id(self._tree), self.path))

    @property
    def root(self) -> Self:
        """The scope at the top of the tree."""
        place: Any = self
        while place.parent is not None:
            place = place.parent
        return place

    @property
    def path(self) -> tuple[str, ...]:
        """The names from the root to this scope."""
        if self._path is None:
            self._path = self._names("_path")
        return self._path

    @property
    def debug_path(self) -> tuple[str, ...]:
        """The path to show to people."""
        if self._debug_path is None:
            self._debug_path = self._names("_debug_path")
        return self._debug_path

    def _names(self, attribute: str) -> tuple[str, ...]:
        names: list[Any] = []
        place: Any = self
        while (known := getattr(place, attribute)) is None:
            names.append(place.name)
            place = place.parent
        return (*known, *reversed(names))

    @property
    def path_text(self) -> str:
        """The path for people to read, `/` at the root."""
        return "/" + "/".join(self.debug_path)

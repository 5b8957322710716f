"""Traversals: reusable selections of parts of nested data, to read or to replace."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from . import containers
from .errors import (
    NotTraversableError,
    TraverseError,
    TraverseValuesError,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Rebuild: TypeAlias = Callable[[list[Any]], Any]
    Split: TypeAlias = tuple[Iterable[Any], Rebuild]

__all__ = [
    "SplitTraversal",
    "Traversal",
    "TraverseAttr",
    "TraverseCompose",
    "TraverseEach",
    "TraverseFilter",
    "TraverseId",
    "TraverseItem",
    "TraverseMerge",
    "TraverseTree",
    "t_identity",
]


# Of a long chain, an error shows this many of the last steps.
_SHOWN_STEPS = 12
_NOTHING = object()


class Traversal(abc.ABC):
    """A selection of parts of an object, whatever the object.

    A traversal is built once, usually by chaining from `t_identity`, and applied to
    as many objects as you like. It never changes the data: an update returns a new
    object that shares with the old one what was not selected. Containers keep their
    types. Selected values are visited depth first, in the order of the containers.

    `traversal[key]` selects an item, and `traversal.name` an attribute, of each
    selected value. An attribute that has the name of a method, or begins with two
    underscores, is selected with `compose(TraverseAttr(name))`.

    To write a traversal of your own, derive from this class and define `iterate` and
    `update`.

    >>> from batiste.traverse import t_identity
    >>> layers = [{'rate': 1, 'size': 8}, {'rate': 3, 'size': 8}]
    >>> rates = t_identity.each()['rate']
    >>> list(rates.iterate(layers))
    [1, 3]
    >>> rates.update(lambda x: -x, layers)
    [{'rate': -1, 'size': 8}, {'rate': -3, 'size': 8}]
    >>> rates.set([10, 30], layers)
    [{'rate': 10, 'size': 8}, {'rate': 30, 'size': 8}]
    """

    @abc.abstractmethod
    def update(self, fn: Callable[[Any], Any], inputs: Any) -> Any:
        """Returns a copy of `inputs` with each selected value replaced.

        Args:
          fn: gives the new value of a selected value.
          inputs: the object to traverse. It is not changed.

        Returns:
          The copy, which shares with `inputs` what was not selected.

        Raises:
          TraverseItemError, TraverseAttributeError: a selected item or attribute is
            not there.
          NotTraversableError: an object on the way cannot be gone into or rebuilt.

        >>> from batiste.traverse import t_identity
        >>> t_identity['a'].update(lambda x: x + 1, {'a': 1, 'b': 2})
        {'a': 2, 'b': 2}
        """

    @abc.abstractmethod
    def iterate(self, inputs: Any) -> Iterator[Any]:
        """Iterates over the selected values of `inputs`.

        Args:
          inputs: the object to traverse.

        Returns:
          An iterator. Errors, which are those of `update`, show when it gets
          there.

        >>> from batiste.traverse import t_identity
        >>> list(t_identity['a'].iterate({'a': 1, 'b': 2}))
        [1]
        """

    def set(self, values: Iterable[Any], inputs: Any) -> Any:
        """Returns a copy of `inputs` with the selected values replaced by these.

        Args:
          values: the new values in the order of `iterate`: a list, a tuple, or
            another iterable that has an order.
          inputs: the object to traverse. It is not changed.

        Returns:
          The copy, which shares with `inputs` what was not selected.

        Raises:
          TraverseValuesError: `values` has not exactly one value for each selected
            one, or is a string, mapping, set or no iterable.
          TraverseError: as for `update`.

        >>> from batiste.traverse import t_identity
        >>> t_identity.each().set([3, 4], (1, 2))
        (3, 4)
        """
        if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(
            values, Iterable
        ):
            raise TraverseValuesError(
                "set needs the new values in a list or another ordered iterable, but "
                f"got a value of type {type_name(values)}."
            )
        pending = iter(values)
        used = 0

        def take(_: Any) -> Any:
            nonlocal used
            for value in pending:
                used += 1
                return value
            raise TraverseValuesError(
                f"set got {used} value{'' if used == 1 else 's'}, but {self!r} selects "
                "more items; pass one value for each."
            )

        result = self.update(take, inputs)
        for _ in pending:
            raise TraverseValuesError(
                f"set got more values than the {used} that {self!r} selects; pass one "
                "value for each selected item."
            )
        return result

    def compose(self, other: Traversal) -> TraverseCompose:
        """Selects, from each value selected so far, what `other` selects in it.

        Raises:
          NotTraversableError: `other` is not a traversal.

        >>> from batiste.traverse import TraverseEach, TraverseItem
        >>> list(TraverseEach().compose(TraverseItem('a')).iterate([{'a': 1}]))
        [1]
        """
        return TraverseCompose(self, other)

    def merge(self, *traversals: Traversal) -> TraverseCompose:
        """Selects, from each value, what any of `traversals` selects in it.

        An update goes through the traversals one after the other, so that a value
        selected twice is updated twice.

        Raises:
          NotTraversableError: one of `traversals` is not a traversal.

        >>> from batiste.traverse import t_identity
        >>> ends = t_identity.merge(t_identity['a'], t_identity['c'])
        >>> ends.update(lambda x: -x, {'a': 1, 'b': 2, 'c': 3})
        {'a': -1, 'b': 2, 'c': -3}
        """
        return self.compose(TraverseMerge(*traversals))

    def each(self) -> TraverseCompose:
        """Selects each item of the selected containers; see `TraverseEach`.

        >>> from batiste.traverse import t_identity
        >>> list(t_identity.each().iterate({'a': 1, 'b': 2}))
        [1, 2]
        """
        return self.compose(TraverseEach())

    def tree(self) -> TraverseCompose:
        """Selects each leaf of the selected values as JAX pytrees; needs `jax`.

        >>> from batiste.traverse import t_identity
        >>> nested = t_identity.tree()  # nested.iterate([1, {'a': 2}]) gives 1, 2
        """
        return self.compose(TraverseTree())

    def filter(self, fn: Callable[[Any], Any]) -> TraverseCompose:
        """Keeps the selected values of which `fn` is true.

        Raises:
          NotTraversableError: `fn` is not callable.

        >>> from batiste.traverse import t_identity
        >>> t_identity.each().filter(lambda x: x > 1).update(lambda x: -x, [1, 2, 3])
        [1, -2, -3]
        """
        return self.compose(TraverseFilter(fn))

    def __getattr__(self, name: str) -> TraverseCompose:
        # Python itself asks for such names: to copy, to pickle, to show.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}; to select it from "
                f"the data, use compose(TraverseAttr({name!r}))."
            )
        return self.compose(TraverseAttr(name))

    def __getitem__(self, key: Any) -> TraverseCompose:
        return self.compose(TraverseItem(key))

    # With __getitem__ alone, `for x in traversal` would never end.
    __iter__ = None
    __contains__ = None

    def __repr__(self) -> str:
        return _chain([self])

    def __traversal_suffix__(self) -> str:
        """How the traversal looks in a chain that begins with `t_identity`."""
        return f".compose({type(self).__name__}(...))"


def _chain(steps: list[Traversal]) -> str:
    shown = steps[-_SHOWN_STEPS:]
    start = "t_identity" if len(shown) == len(steps) else "..."
    return start + "".join(step.__traversal_suffix__() for step in shown)


def _require_traversal(value: object) -> None:
    if not isinstance(value, Traversal):
        raise NotTraversableError(
            f"a traversal is needed here, but got {value!r} ({type_name(value)})."
        )


def _require_callable(value: object) -> None:
    if not callable(value):
        raise NotTraversableError(
            f"a function is needed here, but got {value!r} ({type_name(value)})."
        )


class SplitTraversal(Traversal):
    """A traversal whose update can be done in two halves.

    That lets a chain of any length be updated without recursion: first all the way
    down, then all the way up.

    >>> class First(SplitTraversal):
    ...     def __traversal_split__(self, inputs):
    ...         return inputs[:1], lambda new: [*new, *inputs[1:]]
    >>> First().update(lambda x: -x, [1, 2])
    [-1, 2]
    """

    @abc.abstractmethod
    def __traversal_split__(self, inputs: Any) -> Split:
        """The selected values, and a function from their successors to the result.

        The name has underscores on both sides, as `__traversal_suffix__` has, because
        all others select an attribute of the data.
        """

    def iterate(self, inputs: Any) -> Iterator[Any]:
        """Iterates over the selected values of `inputs`; see `Traversal.iterate`."""
        yield from self.__traversal_split__(inputs)[0]

    def update(self, fn: Callable[[Any], Any], inputs: Any) -> Any:
        """Returns a copy with new selected values; see `Traversal.update`."""
        selected, rebuild = self.__traversal_split__(inputs)
        return rebuild([fn(value) for value in selected])


class TraverseId(SplitTraversal):
    """Selects the object itself; `t_identity` is one to start a chain from.

    >>> from batiste.traverse import TraverseId
    >>> list(TraverseId().iterate(3))
    [3]
    """

    def __traversal_split__(self, inputs: Any) -> Split:
        return [inputs], _only

    def __traversal_suffix__(self) -> str:
        return ""


def _only(values: list[Any]) -> Any:
    return values[0]


class TraverseMerge(Traversal):
    """Selects what any of several traversals selects, one traversal after the other.

    Args:
      *traversals: the traversals. With none, nothing is selected.

    Raises:
      NotTraversableError: one of `traversals` is not a traversal.

    >>> from batiste.traverse import TraverseItem, TraverseMerge
    >>> both = TraverseMerge(TraverseItem('a'), TraverseItem('b'))
    >>> list(both.iterate({'a': 1, 'b': 2, 'c': 3}))
    [1, 2]
    """

    def __init__(self, *traversals: Traversal) -> None:
        for traversal in traversals:
            _require_traversal(traversal)
        self.__traversals = traversals

    def iterate(self, inputs: Any) -> Iterator[Any]:
        """Iterates over the selected values of `inputs`; see `Traversal.iterate`."""
        for traversal in self.__traversals:
            yield from traversal.iterate(inputs)

    def update(self, fn: Callable[[Any], Any], inputs: Any) -> Any:
        """Returns a copy with new selected values; see `Traversal.update`."""
        for traversal in self.__traversals:
            inputs = traversal.update(fn, inputs)
        return inputs

    def __traversal_suffix__(self) -> str:
        return f".merge({', '.join(map(repr, self.__traversals))})"


class TraverseCompose(Traversal):
    """Applies one traversal to everything that another one selects.

    Args:
      x: the traversal of the object.
      y: the traversal of each value that `x` selects.

    Raises:
      NotTraversableError: `x` or `y` is not a traversal.

    >>> from batiste.traverse import TraverseCompose, TraverseEach, TraverseItem
    >>> firsts = TraverseCompose(TraverseEach(), TraverseItem(0))
    >>> list(firsts.iterate([(1, 2), (3, 4)]))
    [1, 3]
    """

    def __init__(self, x: Traversal, y: Traversal) -> None:
        _require_traversal(x)
        _require_traversal(y)
        self.__x = x
        self.__y = y

    def __traversal_halves__(self) -> tuple[Traversal, Traversal]:
        return self.__x, self.__y

    def __steps(self) -> list[Traversal]:
        """The traversals of the whole chain, with nested compositions taken apart."""
        steps: list[Traversal] = []
        waiting: list[Traversal] = [self.__y, self.__x]
        while waiting:
            traversal = waiting.pop()
            if type(traversal) is TraverseCompose:
                waiting += reversed(traversal.__traversal_halves__())
            elif type(traversal) is not TraverseId:
                steps.append(traversal)
        return steps

    def iterate(self, inputs: Any) -> Iterator[Any]:
        """Iterates over the selected values of `inputs`; see `Traversal.iterate`."""
        # Iterators of our own on a stack: a chain may be longer than Python's is deep.
        steps = self.__steps()
        open_steps: list[Iterator[Any]] = [iter([inputs])]
        while open_steps:
            depth = len(open_steps) - 1
            try:
                value = next(open_steps[-1], _NOTHING)
            except TraverseError as error:
                _add_location(error, steps[:depth])
                raise
            if value is _NOTHING:
                open_steps.pop()
            elif depth == len(steps):
                yield value
            else:
                open_steps.append(iter(steps[depth].iterate(value)))

    def update(self, fn: Callable[[Any], Any], inputs: Any) -> Any:
        """Returns a copy with new selected values; see `Traversal.update`."""
        return _update_chain(self.__steps(), fn, inputs)

    def __traversal_suffix__(self) -> str:
        return _chain(self.__steps()).removeprefix("t_identity")


def _add_location(error: TraverseError, steps: list[Traversal]) -> None:
    """Adds to the message of an error where in a chain it happened."""
    if len(steps) > 1:
        error.args = (f"{str(error).removesuffix('.')} (at {_chain(steps)}).",)


def _update_chain(steps: list[Traversal], fn: Callable[[Any], Any], inputs: Any) -> Any:
    # For each step gone into: values still to update, updated ones, how to rebuild.
    frames: list[tuple[Iterator[Any], list[Any], Rebuild]] = []
    value = inputs
    while True:
        depth = len(frames)
        if depth == len(steps):
            result = fn(value)
        else:
            step = steps[depth]
            try:
                if isinstance(step, SplitTraversal):
                    selected, rebuild = step.__traversal_split__(value)
                    frames.append((iter(selected), [], rebuild))
                    result = _NOTHING
                else:
                    rest = steps[depth + 1 :]
                    result = step.update(
                        lambda new, rest=rest: _update_chain(rest, fn, new), value
                    )
            except TraverseError as error:
                _add_location(error, steps[: depth + 1])
                raise
        # Up, until there is a value to go down into again.
        while True:
            if not frames:
                return result
            waiting, updated, rebuild = frames[-1]
            if result is not _NOTHING:
                updated.append(result)
            value = next(waiting, _NOTHING)
            if value is not _NOTHING:
                break
            try:
                result = rebuild(updated)
            except TraverseError as error:
                _add_location(error, steps[: len(frames)])
                raise
            frames.pop()


class TraverseFilter(SplitTraversal):
    """Selects the object itself if a function of it is true, and else nothing.

    Args:
      fn: the function of a value.

    Raises:
      NotTraversableError: `fn` is not callable.

    >>> from batiste.traverse import TraverseEach, TraverseFilter
    >>> odd = TraverseEach().compose(TraverseFilter(lambda x: x % 2))
    >>> list(odd.iterate([1, 2, 3]))
    [1, 3]
    """

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        _require_callable(fn)
        self.__fn = fn

    def __traversal_split__(self, inputs: Any) -> Split:
        if self.__fn(inputs):
            return [inputs], _only
        return [], lambda _: inputs

    def __traversal_suffix__(self) -> str:
        return f".filter({getattr(self.__fn, '__qualname__', self.__fn)})"


class TraverseAttr(SplitTraversal):
    """Selects an attribute of the object.

    An update makes a named tuple or a dataclass anew, the latter by its constructor,
    and any other object by a shallow copy.

    Args:
      attr: the name of the attribute.

    >>> import types
    >>> from batiste.traverse import TraverseAttr
    >>> x = types.SimpleNamespace(step=1)
    >>> list(TraverseAttr('step').iterate(x))
    [1]
    >>> TraverseAttr('step').update(lambda v: v + 1, x)
    namespace(step=2)
    """

    def __init__(self, attr: str) -> None:
        self.__attr = attr

    def __traversal_split__(self, inputs: Any) -> Split:
        attr = self.__attr
        return [
            containers.attribute(inputs, attr)
        ], lambda new: containers.replace_attribute(inputs, attr, new[0])

    def __traversal_suffix__(self) -> str:
        return f".{self.__attr}"


class TraverseItem(SplitTraversal):
    """Selects an item of the object or, given a slice, each item in it.

    Args:
      key: a key of a mapping, or an index or slice of a sequence. An index may count
        from the end.

    >>> from batiste.traverse import TraverseItem
    >>> TraverseItem('a').update(lambda v: v + 1, {'a': 1})
    {'a': 2}
    >>> TraverseItem(slice(1, None)).update(lambda v: v + 1, (1, 2, 3))
    (1, 3, 4)
    """

    def __init__(self, key: Any) -> None:
        self.__key = key

    def __traversal_split__(self, inputs: Any) -> Split:
        key = self.__key
        selected = containers.item(inputs, key)
        if isinstance(key, slice) and not isinstance(inputs, Mapping):
            return selected, lambda new: containers.replace_item(inputs, key, new)
        return [selected], lambda new: containers.replace_item(inputs, key, new[0])

    def __traversal_suffix__(self) -> str:
        return f"[{self.__key!r}]"


class TraverseEach(SplitTraversal):
    """Selects each item of a container.

    These are the values of a mapping, the elements of a sequence, and the fields of a
    dataclass. Other iterables can be iterated over, but not updated.

    >>> from batiste.traverse import TraverseEach
    >>> TraverseEach().update(lambda v: v + 1, {'a': 1, 'b': 2})
    {'a': 2, 'b': 3}
    """

    def iterate(self, inputs: Any) -> Iterator[Any]:
        """Iterates over the items of `inputs`; see `Traversal.iterate`."""
        yield from containers.elements(inputs)

    def __traversal_split__(self, inputs: Any) -> Split:
        containers.require_each(inputs)
        return containers.elements(inputs), lambda new: containers.replace_each(
            inputs, new
        )

    def __traversal_suffix__(self) -> str:
        return ".each()"


class TraverseTree(SplitTraversal):
    """Selects each leaf of the object as a JAX pytree, in JAX's order.

    It needs `jax`, which is imported when it is first used.

    Raises:
      ImportError: when used without `jax`.
      NotTraversableError: when used on a tree that is too deep for JAX, which is the
        case at about a thousand levels.

    >>> from batiste.traverse import TraverseTree
    >>> leaves = TraverseTree()  # leaves.iterate([1, {'b': 2, 'a': 3}]) gives 1, 3, 2
    """

    def __traversal_split__(self, inputs: Any) -> Split:
        try:
            from jax import tree_util
        except ImportError as error:
            raise ImportError(
                "TraverseTree and Traversal.tree() need jax: pip install jax."
            ) from error
        try:
            leaves, treedef = tree_util.tree_flatten(inputs)
        except (RecursionError, SystemError) as error:
            raise NotTraversableError(
                "tree() got a pytree that is too deep for JAX; select a part of it "
                "first, or use flatten_dict, which takes any depth."
            ) from error
        return leaves, treedef.unflatten

    def __traversal_suffix__(self) -> str:
        return ".tree()"


t_identity = TraverseId()

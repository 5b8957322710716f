"""Which leaf of a carry, or of what branches return, has a type that it must not have.

Nothing here runs while all goes well: JAX compares the types, and says in its own words
that they differ. What is here then traces the function once more, and says which leaf
it is, and in which scope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import jax
from jax import numpy as jnp

from ..errors import InvalidArgumentError, short_repr
from ..types import Tree
from .pack import Lifted, VariableGroup, variables_by_name

__all__ = ["explain_branches", "explain_carry", "explain_scalar"]

_LONGEST: Final = 200  # characters of a tree's structure
_MOST: Final = 3  # leaves that are listed


class _Leaf(NamedTuple):
    """The type of a leaf; `shape` and `dtype` are None if it is no array."""

    text: str
    shape: tuple[int, ...] | None = None
    dtype: Any = None
    is_weak: bool = False  # JAX converts it to another dtype by itself


class _Types(NamedTuple):
    """The types of variables and of a value, by what their leaves are called."""

    leaves: dict[str, _Leaf]
    structure: Any

    def names(self) -> set[str]:
        return {*self.leaves}


def explain_carry(
    transform: str,
    lifted: Lifted,
    error: Exception | None,
    run: Callable[[Callable[[Tree, Tree], None]], Any],
) -> None:
    """Raises a better error if the body of a loop changes the type of what it carries.

    Args:
      transform: the name of the loop.
      lifted: its scopes.
      error: what was raised, if anything.
      run: traces the body, and calls what it is given with what was carried and what
        then is: pairs of a group of variables and the user's carry.

    Raises:
      InvalidArgumentError: it does.
    """
    found: list[tuple[_Types, _Types]] = []

    def note(before: Tree, after: Tree) -> None:
        types = (_types("carry", lifted, *part) for part in (before, after))
        found.append(tuple(types))  # type: ignore[arg-type]

    try:
        run(note)
    except Exception:  # now it fails in another way, which says nothing
        return
    before, after = found[-1]
    found.clear()
    if before.names() != after.names() or before.structure != after.structure:
        gets, returns = _structures(before, after)
        text = f"gets {gets} and returns {returns}"
        advice = "Return all that the first carry has, and nothing else."
    else:
        names = _differences(before, after, _becomes)
        if not names:
            return
        was, is_now = (types.leaves[names[0]] for types in (before, after))
        text = f"gets {names[0]} as {was.text} and returns it as {is_now.text}"
        text += _and_more(names)
        advice = _advice(was, is_now)
    raise InvalidArgumentError(
        f"The body of the {transform} of scope {lifted.places} must return what it "
        f"carries with the structure, shapes and dtypes that it gets, but {text}. "
        f"{advice}",
        where=lifted.places,
        argument="carry",
    ) from error


def explain_branches(
    transform: str,
    lifted: Lifted,
    error: Exception,
    branches: Mapping[str, Callable[[Callable[[Tree], None]], Any]],
) -> None:
    """Raises a better error if branches return or leave values of different types.

    Args:
      transform: the name of the transform.
      lifted: its scopes.
      error: what was raised.
      branches: by its name, what traces a branch, and calls what it is given with the
        pair of the group of variables that it leaves and of its result.

    Raises:
      InvalidArgumentError: they do.
    """
    found: list[_Types] = []
    try:
        for run in branches.values():
            run(lambda outputs: found.append(_types("result", lifted, *outputs)))
    except Exception:  # now it fails in another way, which says nothing
        return
    (first, *others), (expected, *rest) = list(branches), found
    for is_same in (lambda a, b: _becomes(a, b) or _becomes(b, a), _is_equal):
        for other, types in zip(others, rest, strict=True):
            if expected.names() != types.names() or expected[1:] != types[1:]:
                a, b = _structures(expected, types)
                text = f'"{first}" returns {a} and "{other}" returns {b}'
            else:
                names = _differences(expected, types, is_same)
                if not names:
                    continue
                a, b = (t.leaves[names[0]].text for t in (expected, types))
                text = f'{names[0]} is {a} after "{first}" and {b} after "{other}"'
                text += _and_more(names)
            raise InvalidArgumentError(
                f"The branches of the {transform} of scope {lifted.places} must return "
                f"the same structure, shapes and dtypes, but {text}. Let all "
                "branches return the same, converted with astype where need be.",
                where=lifted.places,
                argument=other,
            ) from error


def explain_scalar(
    what: str, run: Callable[[], Tree], kinds: str, wanted: str, error: Exception
) -> None:
    """Raises a better error if a value that decides is no scalar of certain dtypes.

    Args:
      what: how the message begins: the place, and which value.
      run: returns the value, or its shape and dtype.
      kinds: the kinds of dtypes that can be used, such as `"iu"`.
      wanted: what it must be.
      error: what was raised.

    Raises:
      InvalidArgumentError: it is no such scalar.
    """
    try:
        value = run()
    except Exception:  # now it fails in another way, which says nothing
        return
    if isinstance(value, jax.ShapeDtypeStruct):
        leaf = _Leaf(short_repr(value), value.shape, value.dtype)
    else:
        leaf = _type_of(value)
    if leaf.shape == () and leaf.dtype.kind in kinds:
        return
    raise InvalidArgumentError(
        f"{what} is {leaf.text}, but must be {wanted}."
    ) from error


def _types(what: str, lifted: Lifted, group: VariableGroup, value: Tree) -> _Types:
    paths, structure = jax.tree_util.tree_flatten_with_path(value)
    leaves = {what + jax.tree_util.keystr(p): _type_of(leaf) for p, leaf in paths}
    for root, part in zip(lifted.roots, group, strict=False):
        for name, leaf in variables_by_name(part).items():
            where = f'the variable "{name}" of scope "{root.path_text}"'
            leaves[where] = _type_of(leaf)
    return _Types(leaves, structure)


def _type_of(value: Any) -> _Leaf:
    try:
        kind: Any = jax.typeof(value)
    except TypeError:
        return _Leaf(f"{short_repr(value)} (of type {type(value).__name__})")
    is_weak = bool(getattr(kind, "weak_type", False))
    # JAX writes `~float32[]` for numbers.
    return _Leaf(str(kind).lstrip("~"), kind.shape, kind.dtype, is_weak)


def _is_equal(a: _Leaf, b: _Leaf) -> bool:
    return a.text == b.text


def _becomes(a: _Leaf, b: _Leaf) -> bool:
    """Whether JAX makes the first type the second by itself."""
    if not a.is_weak or a.shape != b.shape or b.dtype is None:
        return _is_equal(a, b)
    return jnp.promote_types(a.dtype, b.dtype) == b.dtype


def _differences(
    before: _Types, after: _Types, is_same: Callable[[_Leaf, _Leaf], bool]
) -> list[str]:
    leaves = before.leaves.items()
    return [name for name, leaf in leaves if not is_same(leaf, after.leaves[name])]


def _and_more(names: list[str]) -> str:
    more = len(names) - 1
    return f" (and {more} more)" if more else ""


def _structures(before: _Types, after: _Types) -> tuple[str, ...]:
    """What there is of leaves that are not in both."""
    if before.names() == after.names():
        a, b = (short_repr(types.structure, _LONGEST) for types in (before, after))
        return f"the structure {a}", f"the structure {b}"
    texts = []
    for types, others in ((before, after), (after, before)):
        only = [name for name in types.leaves if name not in others.leaves]
        text = ", ".join(f"{n} ({types.leaves[n].text})" for n in only[:_MOST])
        if len(only) > _MOST:
            text += f" and {len(only) - _MOST} more"
        texts.append(text or "nothing in its place")
    return tuple(texts)


def _advice(was: _Leaf, is_now: _Leaf) -> str:
    if was.dtype is None or is_now.dtype is None:
        return "Carry arrays and numbers only."
    if was.shape != is_now.shape:
        return "Begin with a carry of the shape that the body returns."
    if was.dtype != is_now.dtype:
        return (
            f"Begin with {is_now.dtype.name}, or convert what the body returns with "
            f'.astype("{was.dtype.name}").'
        )
    return "Begin with a carry of the type that the body returns."

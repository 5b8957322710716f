"""Logical axis rules: which mesh axis each logical axis is laid over."""

import contextlib
import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeAlias, overload

from jax.sharding import PartitionSpec

from .axis_names import AxisEntry, LogicalRules, as_axis_names, mesh_axes_of
from .errors import AxisRulesError, DuplicateAxisError

__all__ = [
    "Rules",
    "as_rules",
    "get_logical_axis_rules",
    "logical_axis_rules",
    "logical_to_mesh_axes",
    "match_rules",
    "set_logical_axis_rules",
]


Rules: TypeAlias = tuple[tuple[Hashable, AxisEntry], ...]
"""Logical axis rules in their normal form, which can be hashed."""


class _RulesInForce(threading.local):
    rules: Rules = ()


_in_force = _RulesInForce()


def as_rules(rules: LogicalRules | None) -> Rules:
    """Gives the rules as a tuple of pairs, which can be hashed; None is no rules.

    Args:
      rules: pairs of a logical axis name and the mesh axis, or axes, to lay it over.

    Returns:
      The same rules, with tuples in place of lists.

    Raises:
      AxisRulesError: a rule is not a pair of a name and a mesh axis, a tuple of mesh
        axes, or None.

    >>> as_rules([["batch", ["x", "y"]], ["embed", None]])
    (('batch', ('x', 'y')), ('embed', None))
    """
    if rules is None:
        return ()
    return tuple(_as_rule(rule) for rule in rules)


def _as_rule(rule: Sequence[AxisEntry]) -> tuple[Hashable, AxisEntry]:
    if isinstance(rule, str) or not isinstance(rule, Sequence) or len(rule) != 2:
        raise AxisRulesError(
            "A logical axis rule is a pair of a logical name and a mesh axis (or a "
            f"tuple of mesh axes, or None), as in ('batch', 'data'); got {rule!r}."
        )
    name, axes = rule
    return name, tuple(axes) if isinstance(axes, list) else axes


def set_logical_axis_rules(rules: LogicalRules | None) -> None:
    """Puts rules in force for the rest of this thread.

    Programs that `jax.jit` has compiled already keep the rules they were traced under.

    Args:
      rules: pairs of a logical axis name and the mesh axis, or axes, to lay it over,
        in order of precedence. None is no rules.

    Raises:
      AxisRulesError: a rule is not such a pair.

    >>> from batiste import spmd
    >>> spmd.set_logical_axis_rules((("batch", "data"), ("embed", None)))
    >>> spmd.get_logical_axis_rules()
    (('batch', 'data'), ('embed', None))
    >>> spmd.set_logical_axis_rules(())
    """
    _in_force.rules = as_rules(rules)


def get_logical_axis_rules() -> Rules:
    """Returns the rules in force in this thread; an empty tuple where there are none.

    >>> from batiste import spmd
    >>> spmd.get_logical_axis_rules()
    ()
    """
    return _in_force.rules


@contextlib.contextmanager
def logical_axis_rules(rules: LogicalRules | None) -> Iterator[None]:
    """Puts rules in force inside a `with` block; afterwards the former ones are back.

    Programs that `jax.jit` has compiled already keep the rules they were traced under,
    so enter the block before the first call.

    Args:
      rules: pairs of a logical axis name and the mesh axis, or axes, to lay it over,
        in order of precedence. None is no rules.

    Raises:
      AxisRulesError: a rule is not such a pair.

    >>> from batiste import spmd
    >>> with spmd.logical_axis_rules((("batch", "data"),)):
    ...   tuple(spmd.logical_to_mesh_axes(("batch", None)))
    ('data', None)
    """
    former = _in_force.rules
    try:
        try:
            set_logical_axis_rules(rules)
            yield
        finally:
            _in_force.rules = former
    except BaseException:
        _in_force.rules = former  # an interrupt may have come before the above
        raise


@overload
def logical_to_mesh_axes(
    array_dim_names: Iterable[AxisEntry], rules: LogicalRules | None = None
) -> PartitionSpec: ...


@overload
def logical_to_mesh_axes(
    array_dim_names: None, rules: LogicalRules | None = None
) -> None: ...


def logical_to_mesh_axes(
    array_dim_names: Iterable[AxisEntry] | None, rules: LogicalRules | None = None
) -> PartitionSpec | None:
    """Looks up the mesh axes for an array whose dimensions have logical names.

    The rules are read from first to last. A rule applies where its logical name is
    the name of a dimension that has no mesh axis yet, and none of the rule's mesh
    axes is taken by another dimension; a rule to None settles that the dimension is
    unsharded. A name may have several rules: the later ones are second choices. A
    dimension that no rule applied to is unsharded.

    Args:
      array_dim_names: one entry per dimension. None means no name, hence unsharded;
        `PartitionSpec.UNCONSTRAINED` and tuples (of mesh axes) are passed on as they
        are.
      rules: the rules to use, in place of those in force.

    Returns:
      The mesh axes, one entry per dimension; None for None.

    Raises:
      DuplicateAxisError: a logical name is on two dimensions.
      AxisRulesError: `array_dim_names` is a bare string, or a rule is not a pair.

    >>> from batiste import spmd
    >>> spec = spmd.logical_to_mesh_axes(
    ...     ("batch", "length", "heads", "features"),
    ...     (("batch", "X"), ("features", "X"), ("heads", "Y"), ("batch", "Z")))
    >>> tuple(spec)
    ('X', None, 'Y', None)
    """
    if array_dim_names is None:
        return None
    layout, _ = match_rules(array_dim_names, rules)
    return PartitionSpec(*layout)


def match_rules(
    array_dim_names: Iterable[AxisEntry], rules: LogicalRules | None
) -> tuple[tuple[AxisEntry, ...], tuple[Hashable, ...]]:
    """Looks up mesh axes as `logical_to_mesh_axes` does, and tells what had no rule.

    Args:
      array_dim_names: one entry per dimension.
      rules: the rules to use, in place of those in force.

    Returns:
      The mesh axes, one entry per dimension, and the names that no rule applied to.

    Raises:
      DuplicateAxisError: a logical name is on two dimensions.
      AxisRulesError: `array_dim_names` is a bare string, or a rule is not a pair.

    >>> match_rules(("batch", "embed"), (("batch", "data"),))
    (('data', None), ('embed',))
    """
    names = as_axis_names(array_dim_names)
    pairs = get_logical_axis_rules() if rules is None else as_rules(rules)
    logical = [name for name in names if _is_logical(name)]
    if len(set(logical)) < len(logical):
        repeated = dict.fromkeys(name for name in logical if logical.count(name) > 1)
        raise DuplicateAxisError(tuple(repeated), names)
    layout: dict[Hashable, AxisEntry] = {}
    taken = set(mesh_axes_of(name for name in names if not _is_logical(name)))
    for name, axes in pairs:
        wanted = set(mesh_axes_of((axes,)))
        if name in logical and name not in layout and not wanted & taken:
            layout[name] = axes or None
            taken |= wanted
    unmatched = tuple(name for name in logical if name not in layout)
    spec = (layout.get(name) if _is_logical(name) else name for name in names)
    return tuple(spec), unmatched


def _is_logical(name: AxisEntry) -> bool:
    return not (
        name is None or name is PartitionSpec.UNCONSTRAINED or isinstance(name, tuple)
    )

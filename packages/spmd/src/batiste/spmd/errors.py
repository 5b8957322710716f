"""The errors of partitioning, each with the parameter's path where one is known.

All of them are `FlaxError`s, and `ValueError`s too, because that is what wrong axis
names raised before they had a type.
"""

import difflib
from collections.abc import Hashable, Iterable, Sequence

from batiste.core.errors import AxisMetadataError, PartitioningUnspecifiedError

__all__ = [
    "AxisRulesError",
    "DuplicateAxisError",
    "PartitioningError",
    "PartitioningUnspecifiedError",
    "RankMismatchError",
    "UnknownAxisError",
]


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(repr(name) for name in names) or "(none)"


class PartitioningError(AxisMetadataError, ValueError):
    """The base of the errors that are about axis names and their layout.

    Attributes:
      path: the parameter's path in its tree, as text, or None where it is not known.
      problem: the message without the path.

    >>> from batiste.spmd import errors
    >>> print(errors.PartitioningError("Bad names.").at("Dense_0/kernel").path)
    Dense_0/kernel
    """


class UnknownAxisError(PartitioningError):
    """An axis name that the mesh, or the rules, do not have.

    Attributes:
      axis: the name that is not there.
      nearest: the known names that look most like it, best first.

    >>> from batiste.spmd import errors
    >>> errors.UnknownAxisError("modle", ["data", "model"], "mesh").nearest
    ('model',)
    """

    def __init__(
        self, axis: Hashable, known: Sequence[object], where: str, detail: str = ""
    ) -> None:
        self.axis = axis
        texts = {str(name): name for name in known}
        close = difflib.get_close_matches(str(axis), texts, n=3, cutoff=0.5)
        self.nearest = tuple(texts[text] for text in close)
        hint = f" Nearest names: {_quoted(self.nearest)}." if self.nearest else ""
        super().__init__(
            f"Axis {axis!r} is not among the axes of the {where}: {_quoted(known)}."
            f"{hint}{' ' + detail if detail else ''}"
        )


class RankMismatchError(PartitioningError):
    """More axis names than the value has dimensions.

    Fewer names are no error: the dimensions that follow are unsharded, as in a
    `jax.sharding.PartitionSpec`.

    Attributes:
      names: the axis names.
      shape: the value's shape.

    >>> from batiste.spmd import errors
    >>> errors.RankMismatchError(("data", None), (8,)).shape
    (8,)
    """

    def __init__(self, names: Sequence[object], shape: Sequence[int]) -> None:
        self.names = tuple(names)
        self.shape = tuple(shape)
        super().__init__(
            f"{len(self.names)} axis names, {self.names!r}, for a value of rank "
            f"{len(self.shape)} with shape {self.shape!r}. Give at most one name (or "
            "None) per dimension; in `vmap` and `scan` leave the new axis out, it is "
            "named by metadata_params={'partition_name': ...}."
        )


class DuplicateAxisError(PartitioningError):
    """The same axis name on two dimensions of one value.

    Attributes:
      axes: the names that occur more than once.

    >>> from batiste.spmd import errors
    >>> errors.DuplicateAxisError(("batch",), ("batch", "batch")).axes
    ('batch',)
    """

    def __init__(self, axes: Sequence[Hashable], names: Sequence[object]) -> None:
        self.axes = tuple(axes)
        super().__init__(
            f"{_quoted(self.axes)} occur more than once in the axis names "
            f"{tuple(names)!r}. Every dimension of a value needs a name of its own, "
            "or None."
        )


class AxisRulesError(PartitioningError):
    """Logical axis rules, or axis names, that are not of the documented form.

    >>> from batiste.spmd import logical_to_mesh_axes
    >>> logical_to_mesh_axes("batch")
    Traceback (most recent call last):
    ...
    batiste.spmd.errors.AxisRulesError: Axis names are one name or None per ...
    """

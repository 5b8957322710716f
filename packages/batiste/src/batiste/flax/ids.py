"""Numbers that are unique in this process, to tell objects apart without comparing.

>>> from batiste.flax.ids import uuid
>>> uuid() == uuid()
False
"""

from __future__ import annotations

import itertools

__all__ = ["FlaxId", "UUIDManager", "uuid"]


class FlaxId:
    """A number that is equal only to the same number, and that copying renews.

    Args:
      rawid: the number.

    >>> one = uuid()
    >>> one == FlaxId(one.id), hash(one) == hash(FlaxId(one.id))
    (True, True)
    >>> import copy
    >>> copy.copy(one) == one, copy.deepcopy(one) == one
    (False, False)
    """

    def __init__(self, rawid: int):
        self.id = rawid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlaxId) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"FlaxId({self.id})"

    # The copy of an object is another object.
    def __copy__(self) -> FlaxId:
        return uuid()

    def __deepcopy__(self, memo: object) -> FlaxId:
        return uuid()


class UUIDManager:
    """Gives out numbers, each once, in whatever thread. There is one, `uuid`.

    >>> numbers = UUIDManager()
    >>> numbers(), numbers()
    (FlaxId(1), FlaxId(2))
    """

    def __init__(self):
        # Drawing from it is one step of the interpreter, so threads need no lock.
        self._numbers = itertools.count(1)

    def __call__(self) -> FlaxId:
        """Returns the next number."""
        return FlaxId(next(self._numbers))


uuid = UUIDManager()

"""Keys of dicts that come from anyone: which may be, and what they may cost."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .errors import SerializationError, join_path

__all__ = [
    "KeyCost",
    "check_key",
]


# Their hashes differ from one process to the next, or there are too few of them, so
# that no file can be made of those that collide.
_SAFE: Final = frozenset((str, bytes, bool, type(None)))
_PLAIN: Final = _SAFE | {int, float, complex}
# Dicts with fewer keys than this are not watched, whatever these are.
_WATCHED: Final = 64
# Probes for each key, on average, with those of the growing table. Multiples of a power
# of two need up to 40, grids of complex numbers up to 100.
_MOST_PROBES: Final = 256
_PERTURB: Final = 5  # bits of the hash that CPython uses up with each probe
_HASH_BITS: Final = 2**64 - 1


def check_key(value: Any, keys: dict[Any, Any], cost: KeyCost | None) -> KeyCost | None:
    r"""Checks that a value can be the next key of a dict.

    Args:
      value: what was read where a key belongs.
      keys: the dict, with the keys before it.
      cost: what the last call for this dict returned, None at first.

    Returns:
      What to pass to the next call for the same dict.

    Raises:
      SerializationError: the value cannot be a key, is one of the dict already, or
        makes the dict so slow that the file must have been made for that.

    >>> check_key("b", {"a": 1}, None)
    >>> check_key("a", {"a": 1}, None)
    Traceback (most recent call last):
    ...
    batiste.serialization.errors.SerializationError: The key 'a' appears twice in one
    dict: the data is damaged.
    """
    kind = type(value)
    if kind not in _PLAIN:
        _check_scalar(value)
    if kind not in _SAFE and len(keys) >= _WATCHED:
        if cost is None:
            cost = KeyCost()
            for key in keys:
                cost.add(key)
        cost.add(value)
    try:
        known = value in keys
    except (TypeError, ValueError, OverflowError) as error:
        # Dates in units that have none in common are not even unequal for NumPy.
        raise SerializationError(
            f"The key {join_path((value,))!r} cannot be compared with another key of "
            f"its dict ({error}): the data is damaged."
        ) from None
    if known:
        raise SerializationError(
            f"The key {join_path((value,))!r} appears twice in one dict: the data is "
            "damaged."
        )
    return cost


def _check_scalar(value: Any) -> None:
    """Refuses what is no NumPy scalar, or one that cannot be hashed or printed."""
    if not isinstance(value, np.generic) or isinstance(value, np.void):
        raise SerializationError(
            f"A key of a dict here is of type {type(value).__name__!r}, which no key "
            "can be: the data is damaged."
        )
    try:
        _ = hash(value), repr(value), str(value)
    except Exception as error:
        raise SerializationError(
            f"A key of a dict here is a {value.dtype} that NumPy cannot use as a key "
            f"({error}): the data is damaged."
        ) from None


class KeyCost:
    """Counts the probes that a dict makes for its keys, as CPython places them.

    A dict that is made of keys with colliding hashes takes time that is quadratic in
    their number. Python makes the hashes of strings unpredictable; those of numbers
    are their values. What is counted here takes the same steps beside the dict, and
    stops before they become too many.

    >>> cost = KeyCost()
    >>> for number in range(100_000):
    ...     cost.add(number)
    """

    def __init__(self) -> None:
        self._hashes: list[int] = []
        self._taken = bytearray(8)
        self._probes = 0

    def add(self, key: Any) -> None:
        """Adds a key.

        Args:
          key: hashable, and none that was added before.

        Raises:
          SerializationError: the keys collide too often.
        """
        value = hash(key)
        self._hashes.append(value)
        count = len(self._hashes)
        size = len(self._taken)
        if count > size * 2 // 3:
            self._taken = bytearray(1 << (count * 3 - 4).bit_length())
            for other in self._hashes:
                self._place(other)
        else:
            self._place(value)

    def _place(self, value: int) -> None:
        taken, mask = self._taken, len(self._taken) - 1
        perturb = value & _HASH_BITS
        at = perturb & mask
        probes = 1
        while taken[at]:
            perturb >>= _PERTURB
            at = (at * 5 + perturb + 1) & mask
            probes += 1
        taken[at] = 1
        self._probes += probes
        if self._probes > _MOST_PROBES * max(len(self._hashes), _WATCHED):
            raise SerializationError(
                "The keys of this dict collide in memory far more often than numbers "
                "do that were not chosen for it: the data was made to waste time. Save "
                "keys of your own as strings, which to_bytes does."
            )

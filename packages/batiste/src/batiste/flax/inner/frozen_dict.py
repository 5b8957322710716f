"""What programs use of `flax.core.frozen_dict` beside FrozenDict.

>>> from batiste.core import freeze
>>> _prepare_freeze({"a": freeze({"b": 1})})
{'a': {'b': 1}}
"""

from __future__ import annotations

from typing import Any

from batiste.core.frozen_dict import FrozenDict

__all__ = ["_prepare_freeze"]


def _prepare_freeze(xs: Any) -> Any:
    """Copies nested dicts, frozen or not, into plain ones."""
    if isinstance(xs, FrozenDict):
        return xs.unfreeze()
    if isinstance(xs, dict):
        return {key: _prepare_freeze(value) for key, value in xs.items()}
    return xs

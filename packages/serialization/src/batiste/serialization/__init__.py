"""State dictionaries and msgpack bytes for nested arrays.

>>> import numpy as np
>>> from batiste.serialization import from_bytes, to_bytes
>>> params = {"dense": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}}
>>> from_bytes(params, to_bytes(params))["dense"]["kernel"].shape
(2, 3)
"""

from typing import TYPE_CHECKING, Any

from .encode import MAX_CHUNK_SIZE
from .errors import SerializationError, UnserializableTypeError
from .msgpack_codec import from_bytes, msgpack_restore, msgpack_serialize, to_bytes
from .registry import is_serializable, register_serialization_state
from .state_dict import current_path, from_state_dict, to_state_dict
from .stream import restore, safetensors_metadata, serialize

if TYPE_CHECKING:
    from .pretrained import Pretrained, restore_pretrained

__all__ = [
    "MAX_CHUNK_SIZE",
    "Pretrained",
    "SerializationError",
    "UnserializableTypeError",
    "current_path",
    "from_bytes",
    "from_state_dict",
    "is_serializable",
    "msgpack_restore",
    "msgpack_serialize",
    "register_serialization_state",
    "restore",
    "restore_pretrained",
    "safetensors_metadata",
    "serialize",
    "to_bytes",
    "to_state_dict",
]


def __getattr__(name: str) -> Any:
    # Few programs want these, and all others need not import them.
    if name in ("Pretrained", "restore_pretrained"):
        from . import pretrained

        value = globals()[name] = getattr(pretrained, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

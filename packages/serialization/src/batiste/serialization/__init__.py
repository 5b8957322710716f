"""State dictionaries and msgpack bytes for nested arrays.

>>> import numpy as np
>>> from batiste.serialization import from_bytes, to_bytes
>>> params = {"dense": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}}
>>> from_bytes(params, to_bytes(params))["dense"]["kernel"].shape
(2, 3)
"""

from .encode import MAX_CHUNK_SIZE as MAX_CHUNK_SIZE
from .errors import SerializationError as SerializationError
from .errors import UnserializableTypeError as UnserializableTypeError
from .msgpack_codec import from_bytes as from_bytes
from .msgpack_codec import msgpack_restore as msgpack_restore
from .msgpack_codec import msgpack_serialize as msgpack_serialize
from .msgpack_codec import to_bytes as to_bytes
from .registry import is_serializable as is_serializable
from .registry import register_serialization_state as register_serialization_state
from .state_dict import current_path as current_path
from .state_dict import from_state_dict as from_state_dict
from .state_dict import to_state_dict as to_state_dict
from .stream import restore as restore
from .stream import serialize as serialize

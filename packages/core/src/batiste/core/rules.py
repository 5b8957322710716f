"""What the arguments of layers may be: a rule for each kind, and each name."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.core import Tracer

from . import meta

__all__ = [
    "ARRAY",
    "CALLABLE",
    "INEXACT_DTYPE",
    "INITIALIZER",
    "INTEGERS",
    "LAX_PADDING",
    "MOST_ELEMENTS",
    "NUMBER",
    "PROBABILITY",
    "RULES",
    "SIZE",
    "SIZES",
    "TRUTH",
    "Rule",
    "is_deleted",
    "is_size",
    "why_no_array",
]


class Rule(NamedTuple):
    """What an argument may be.

    Attributes:
      accepts: whether a value can be used.
      wanted: what can be, to follow "must be".
      reason: of a value that cannot be used, what is wrong with it, or ''.

    >>> SIZE.accepts(3), SIZE.accepts(-3), SIZE.wanted
    (True, False, 'a positive integer')
    """

    accepts: Callable[[Any], bool]
    wanted: str
    reason: Callable[[Any], str] = lambda value: ""


def is_size(value: Any, least: int = 1, most: int | None = None) -> bool:
    """Returns whether a value is an integer of any kind, and not too small or large.

    Args:
      value: anything; integers are those of Python and NumPy, members of an `IntEnum`,
        and concrete integer scalars of JAX.
      least: the smallest that is accepted.
      most: the largest that is accepted.

    >>> import numpy as np
    >>> is_size(np.int64(3)), is_size(0), is_size(2.0), is_size("3")
    (True, False, False, False)
    """
    try:
        number = operator.index(value)
    except Exception:
        return False
    return number >= least and (most is None or number <= most)


# More bytes than any machine has; JAX ends the process over numbers that are larger.
MOST_ELEMENTS: Final = 2**48
_MOST = MOST_ELEMENTS


def _all(accepts: Callable[[Any], bool], value: Any) -> bool:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        return False
    try:
        return all(accepts(item) for item in value)
    except Exception:
        return False


def _is_extent(value: Any) -> bool:
    return is_size(value, 1, _MOST)


def _why_no_extent(value: Any) -> str:
    return "no machine can hold so much" if is_size(value) else ""


def _is_integer(value: Any) -> bool:
    return is_size(value, -_MOST, _MOST)


def _is_number(value: Any) -> bool:
    if value is None or isinstance(value, (str, bytes)):
        return False
    try:
        return np.shape(value) == () and jnp.issubdtype(
            jnp.result_type(value), jnp.number
        )
    except Exception:
        return False


def _is_probability(value: Any) -> bool:
    try:
        return _is_number(value) and 0.0 <= float(value) <= 1.0
    except jax.errors.ConcretizationTypeError:
        return True
    except Exception:
        return False


def _is_truth(value: Any) -> bool:
    try:
        bool(value)
    except Exception:
        return False
    return True


def _is_dtype(value: Any) -> bool:
    try:
        jnp.zeros((), value)
    except Exception:
        return False
    return True


def _is_inexact_dtype(value: Any) -> bool:
    return _is_dtype(value) and bool(jnp.issubdtype(np.dtype(value), jnp.inexact))


def is_deleted(value: Any) -> bool:
    """Returns whether a value is an array of JAX whose memory was given away.

    >>> x = jnp.ones(2)
    >>> x.delete()
    >>> is_deleted(x), is_deleted(3)
    (True, False)
    """
    # What is traced has no memory, and jit's tracers refuse the question.
    return (
        isinstance(value, jax.Array)
        and not isinstance(value, Tracer)
        and value.is_deleted()
    )


def _is_array(value: Any) -> bool:
    if isinstance(value, jax.ShapeDtypeStruct) or is_deleted(value):
        return False
    try:
        dtype = getattr(value, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.extended):
            return False
        jax.eval_shape(jnp.asarray, value)
    except Exception:
        return False
    return True


def why_no_array(value: Any) -> str:
    """Returns why a value is no array of numbers, or '' if that cannot be told.

    >>> why_no_array(jax.random.key(0))
    'it is a PRNG key; keys are passed as rngs'
    """
    if isinstance(value, jax.ShapeDtypeStruct):
        return (
            "it has a shape and a dtype but no numbers; pass it to jax.eval_shape, or "
            "to lazy_init"
        )
    if is_deleted(value):
        return (
            "its memory was given away, as a donated argument of a jitted function is; "
            "use what that function returned"
        )
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return "it is a PRNG key; keys are passed as rngs"
    return ""


def _is_precision(value: Any) -> bool:
    x = jax.ShapeDtypeStruct((2, 2), np.float32)
    try:
        jax.eval_shape(lambda a: jax.lax.dot(a, a, precision=value), x)
    except Exception:
        return False
    return True


_PROBE = (5, 3)


def _why_no_initializer(value: Any) -> str:
    """What is wrong with an initializer; '' if nothing can be found."""
    if not callable(value):
        return "it cannot be called"
    made: list[Any] = []

    def probe(key: Any) -> int:
        dtype = (jnp.float32,) if _takes(value, 3) else ()
        made.append(value(key, _PROBE, *dtype))
        return 0

    try:
        jax.eval_shape(probe, jax.random.key(0))
    except Exception:
        if not _takes(value, 3) and not _takes(value, 2):
            name = getattr(value, "__name__", "it")
            return (
                "it does not take (key, shape, dtype); if it is a function that makes "
                f"an initializer, call it: {name}()"
            )
        return ""  # it may want another number of axes
    return _why_no_value(value, made[0])


def _takes(value: Any, count: int) -> bool:
    """Whether something can be called with so many arguments, as far as it says."""
    try:
        inspect.signature(value).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True


def _why_no_value(initializer: Any, made: Any) -> str:
    if callable(made) and not hasattr(made, "shape"):
        name = getattr(initializer, "__name__", "it")
        return (
            f"called with (key, shape, dtype) it returns a function; call it to get "
            f"the initializer: {name}()"
        )
    try:
        shape = np.shape(meta.unbox(made))
    except Exception:
        return ""
    if shape == _PROBE:
        return ""
    return f"asked for an array of shape {_PROBE} it returns one of shape {shape}"


SIZE = Rule(_is_extent, "a positive integer", _why_no_extent)
SIZES = Rule(
    lambda value: _is_extent(value) or _all(_is_extent, value),
    "a positive integer, or a sequence of them",
    _why_no_extent,
)
INTEGERS = Rule(
    lambda value: _is_integer(value) or _all(_is_integer, value),
    "an integer, or a sequence of integers",
)
NUMBER = Rule(_is_number, "a number")
PROBABILITY = Rule(_is_probability, "a number from 0 to 1")
DTYPE = Rule(_is_dtype, "a dtype, such as jnp.float32")
INEXACT_DTYPE = Rule(
    _is_inexact_dtype, "None or a floating or complex dtype, such as jnp.float32"
)
CALLABLE = Rule(callable, "a function")
INITIALIZER = Rule(
    lambda value: not _why_no_initializer(value),
    "an initializer, called as init(key, shape, dtype), such as "
    "initializers.lecun_normal()",
    _why_no_initializer,
)
PRECISION = Rule(
    _is_precision, "None, 'default', 'high', 'highest', a jax.lax.Precision, or a pair"
)
ARRAY = Rule(_is_array, "an array of numbers", why_no_array)
TRUTH = Rule(_is_truth, "True or False")
_STRING = Rule(lambda value: isinstance(value, str), "a string")
_AXIS_NAME = Rule(
    lambda value: isinstance(value, str) or _all(lambda v: isinstance(v, str), value),
    "the name of an axis of an enclosing vmap, pmap or shard_map, or a tuple of names",
)
_GROUPS = Rule(
    lambda value: _all(lambda group: _all(_is_integer, group), value),
    "a sequence of sequences of indices along axis_name",
)
_PADDING = Rule(
    lambda value: (
        isinstance(value, str)
        or is_size(value, 0, _MOST)
        or _all(lambda v: _is_integer(v) or _all(_is_integer, v), value)
    ),
    "a name such as 'SAME' or 'VALID', an integer, or for each spatial dimension an "
    "integer or a pair (low, high)",
)

LAX_PADDING = Rule(
    lambda value: (
        value.upper() in ("SAME", "SAME_LOWER", "VALID")
        if isinstance(value, str)
        else _all(lambda pair: _all(_is_integer, pair) and len(pair) == 2, value)
    ),
    "'SAME', 'SAME_LOWER', 'VALID', or a pair (low, high) for each spatial dimension",
)

# By the name of the argument; a name that ends in `_init` is an initializer, too.
RULES: dict[str, Rule] = {
    "attention_axis": INTEGERS,
    "attention_fn": CALLABLE,
    "axis": INTEGERS,
    "axis_index_groups": _GROUPS,
    "axis_name": _AXIS_NAME,
    "batch_dims": INTEGERS,
    "dropout_rate": PROBABILITY,
    "dtype": DTYPE,
    "epsilon": NUMBER,
    "feature_group_count": SIZE,
    "features": SIZE,
    "group_size": SIZE,
    "init_fn": INITIALIZER,
    "input_dilation": SIZES,
    "inputs": ARRAY,
    "inputs_kv": ARRAY,
    "inputs_q": ARRAY,
    "kernel_dilation": SIZES,
    "kernel_size": SIZES,
    "key": ARRAY,
    "key_padding_mask": ARRAY,
    "key_segmentation": ARRAY,
    "kind": _STRING,
    "mask": ARRAY,
    "momentum": NUMBER,
    "num_embeddings": SIZE,
    "num_groups": SIZE,
    "num_heads": SIZE,
    "out_features": SIZE,
    "padding": _PADDING,
    "padding_mask": ARRAY,
    "param_dtype": DTYPE,
    "precision": PRECISION,
    "qkv_features": SIZE,
    "query": ARRAY,
    "rate": PROBABILITY,
    "segmentation": ARRAY,
    "strides": SIZES,
    "value": ARRAY,
    "x": ARRAY,
}

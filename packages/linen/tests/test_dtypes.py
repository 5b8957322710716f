"""Choosing a dtype, and casting to it only where it differs."""

import numpy as np
import pytest
from jax import numpy as jnp

from batiste.linen.dtypes import canonicalize_dtype, promote_dtype


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((jnp.ones(1), None), "float32"),
        ((jnp.ones(1, jnp.bfloat16), 2.0), "bfloat16"),
        ((jnp.ones(1, jnp.bfloat16), jnp.ones(1)), "float32"),
        ((jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.float16)), "float32"),
        ((jnp.ones(1, jnp.int8),), "float32"),
        ((True,), "float32"),
        ((jnp.ones(1, jnp.complex64), jnp.ones(1)), "complex64"),
    ],
)
def test_inferred(args, expected):
    assert canonicalize_dtype(*args) == jnp.dtype(expected)


def test_given_dtype_is_returned_as_it_is():
    assert canonicalize_dtype(1, dtype=jnp.bfloat16) is jnp.bfloat16
    assert canonicalize_dtype(1, dtype="float16") == "float16"


def test_integers_where_inexact_is_not_asked():
    assert canonicalize_dtype(jnp.ones(1, jnp.int8), inexact=False) == jnp.int8
    assert canonicalize_dtype(1, dtype=jnp.int32, inexact=False) is jnp.int32


@pytest.mark.parametrize("function", [canonicalize_dtype, promote_dtype])
def test_errors(function):
    with pytest.raises(ValueError, match="cannot compute in .*int32.*as `dtype`"):
        function(1.0, dtype=jnp.int32)
    with pytest.raises(ValueError, match="every argument is None and dtype=None"):
        function(None)


def test_promotion_keeps_none_and_casts_the_rest():
    x, nothing, y = promote_dtype(np.ones(2, np.int32), None, [1.5, 2.5])
    assert nothing is None
    assert x.dtype == y.dtype == jnp.float32
    assert y.tolist() == [1.5, 2.5]


@pytest.mark.parametrize("dtype", [None, jnp.float32, "float32", np.dtype("float32")])
def test_arrays_of_the_right_dtype_are_not_touched(dtype):
    x, y = jnp.ones(2), jnp.zeros(())
    promoted = promote_dtype(x, None, y, dtype=dtype)
    assert promoted[0] is x
    assert promoted[2] is y


def test_numpy_arrays_become_jax_arrays():
    (x,) = promote_dtype(np.ones(2, np.float32))
    assert isinstance(x, jnp.ndarray)

"""Axes as tuples, and arrays of one dtype."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.core.nn.arrays import as_tuple, cast, normalize_axes


def test_as_tuple_takes_one_integer_or_any_iterable():
    assert as_tuple(3) == (3,)
    assert as_tuple(range(2)) == (0, 1)
    assert as_tuple(iter([1])) == (1,)


def test_cast_returns_an_array_of_that_dtype_itself():
    x = jnp.ones(2)
    assert cast(x, jnp.float32) is x
    assert jax.make_jaxpr(lambda x: cast(x, "float32"))(x).eqns == []


def test_cast_makes_arrays_of_numbers_and_of_other_dtypes():
    assert cast(np.ones(2), jnp.float16).dtype == jnp.float16
    assert cast(1, jnp.float32).shape == ()


def test_cast_makes_a_weak_type_strong():
    weak = jnp.asarray(1.0)
    assert weak.weak_type
    assert not cast(weak, jnp.float32).weak_type


def test_normalize_axes_counts_from_the_front_and_keeps_the_order():
    assert normalize_axes((-1, 0), 3) == (2, 0)
    assert normalize_axes((), 0) == ()


@pytest.mark.parametrize("axes", [(3,), (-4,), (0, -3), (1, 1)])
def test_normalize_axes_says_which_axes_are_wrong(axes):
    with pytest.raises(ValueError, match=r"distinct axes of an input with 3") as info:
        normalize_axes(axes, 3)
    assert str(axes) in str(info.value)

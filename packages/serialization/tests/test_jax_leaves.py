"""JAX's side runs with everything installed, in tests/test_serialization_jax.py."""

import numpy as np
import pytest

from batiste.serialization.jax_leaves import (
    _regions,
    is_jax_array,
    is_jax_partial,
    is_prng_key,
)


def test_nothing_is_of_jax_where_jax_is_not():
    for value in (1, None, np.ones(2), max, object()):
        assert not is_jax_array(value)
        assert not is_prng_key(value)
        assert not is_jax_partial(value)


@pytest.mark.parametrize("size", [1, 4, 8, 12, 50, 1000])
@pytest.mark.parametrize(
    "shape", [(), (1,), (5,), (3, 4), (2, 3, 4), (2, 0, 3), (1, 1, 7), (7, 1, 1)]
)
def test_regions_cover_an_array_in_order(shape, size):
    array = np.arange(np.prod(shape, dtype=int), dtype="i4").reshape(shape)
    boxes = [
        array[tuple(slice(*pair) for pair in region)]
        for region in _regions(shape, 4, size)
    ]
    assert all(box.nbytes <= max(size, 4) for box in boxes)
    found = [x for box in boxes for x in box.ravel().tolist()]
    assert found == array.ravel().tolist()

"""Words that have the same neighbours have vectors near each other."""

import numpy as np
import pytest
from vectors import word_vectors


@pytest.fixture
def texts():
    """Words 2 and 3 stand before 4 or 5, words 6 and 7 before 8 or 9; 10 is nowhere."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(2, 4, (200, 1)), rng.integers(4, 6, (200, 1))
    pairs = np.concatenate([first, second], axis=1)
    return [*pairs, *(pairs + 4)]


def test_the_same_neighbours_the_same_direction(texts):
    found = word_vectors(texts, 11, 2, window=1, seed=0)
    assert found.shape == (11, 2)
    assert found.dtype == np.float32
    near = found @ found.T
    assert near[2, 3] > 0.9
    assert near[6, 7] > 0.9
    assert abs(near[2, 6]) < 0.1


def test_vectors_have_the_length_one_or_none(texts):
    found = word_vectors(texts, 11, 2, window=1, seed=0)
    norms = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(norms[2:10], 1.0, rtol=1e-5)
    np.testing.assert_array_equal(norms[[0, 1, 10]], 0.0)


def test_the_same_seed_gives_the_same_vectors(texts):
    np.testing.assert_array_equal(
        word_vectors(texts, 11, 2, window=1, seed=3),
        word_vectors(texts, 11, 2, window=1, seed=3),
    )


def test_texts_are_no_neighbours_of_each_other():
    apart = [np.array([2, 3]), np.array([4, 5])] * 10
    found = word_vectors(apart, 6, 4, window=4, seed=0)
    assert abs((found @ found.T)[3, 4]) < 0.1

"""Tests of batiste.core.softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core.softmax import log_softmax, softmax

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
WHERE = np.array([[1, 1, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1]], bool)


@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(softmax, jax.nn.softmax), (log_softmax, jax.nn.log_softmax)],
)
def test_as_jax_without_more(ours, theirs, axis):
    assert np.array_equal(ours(X, axis), theirs(X, axis))
    assert str(jax.make_jaxpr(lambda x: ours(x, axis))(X)) == (
        str(jax.make_jaxpr(lambda x: theirs(x, axis))(X))
    )


@pytest.mark.parametrize("initial", [None, 0.0, -np.inf, 3.0])
def test_where_and_initial(initial):
    def by_hand(x):
        exponentials = jnp.where(WHERE, jnp.exp(x), 0.0)
        return exponentials / exponentials.sum(-1, keepdims=True)

    # By position, as documented.
    assert np.allclose(softmax(X, -1, WHERE, initial), by_hand(X), atol=1e-6)
    logs = log_softmax(X, -1, WHERE, initial)
    assert np.allclose(np.exp(logs), by_hand(X), atol=1e-6)
    assert np.array_equal(np.isneginf(logs), ~WHERE)
    grads = jax.grad(lambda x: (softmax(x, where=WHERE, initial=initial) ** 2).sum())(X)
    expected = jax.grad(lambda x: (by_hand(x) ** 2).sum())(X)
    assert np.allclose(grads, expected, atol=1e-6)


def test_nothing_counts():
    y = softmax(X, where=np.zeros_like(WHERE), initial=0.0)
    assert np.array_equal(y, np.zeros_like(X))

"""Tests of batiste.core.scope.init_shapes."""

import gc

import jax
import jax.numpy as jnp
import pytest

from batiste.core import apply, init
from batiste.core.errors import ScopeParamShapeError
from batiste.core.scope.init_shapes import expected_shapes


def test_shapes_of_all_leaves():
    def init_fn(key, shape, *, n=1):
        return {"a": jnp.zeros(shape), "b": [jnp.zeros((n,)), 3]}

    assert expected_shapes(init_fn, ((2, 3),), {}) == ((2, 3), (1,), ())
    assert expected_shapes(init_fn, ((2, 3),), {"n": 4}) == ((2, 3), (4,), ())


class Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self, key, *args):
        self.calls += 1
        return jnp.zeros(args[0])


@pytest.mark.parametrize(
    ("args", "calls"),
    [
        (((2,), jnp.float32), 1),
        (((2,), None, "x", (1, (b"y",))), 1),
        ((jnp.array(2),), 3),
    ],
)
def test_remembered_for_static_arguments(args, calls):
    init_fn = Counting()
    if calls == 3:
        init_fn = lambda key, n: (seen.append(n), jnp.zeros(2))[1]  # noqa: E731
        seen = []
    for _ in range(3):
        expected_shapes(init_fn, args, {})
    assert (len(seen) if calls == 3 else init_fn.calls) == calls


def test_initializers_that_cannot_be_remembered():
    class Unhashable(Counting):
        __hash__ = None

    init_fn = Unhashable()
    for _ in range(2):
        assert expected_shapes(init_fn, ((2,),), {}) == ((2,),)
    assert init_fn.calls == 2


def test_memory_dies_with_the_initializer():
    import weakref

    init_fn = Counting()
    expected_shapes(init_fn, ((2,),), {})
    ref = weakref.ref(init_fn)
    del init_fn
    gc.collect()
    assert ref() is None


def test_arrays_are_not_computed():
    def init_fn(key, shape):
        assert isinstance(key, jax.core.Tracer)
        return jax.random.normal(key, shape)

    assert expected_shapes(init_fn, ((10**6, 10**6),), {}) == ((10**6, 10**6),)


def test_an_initializer_made_anew_is_known_by_its_memo_key():
    inner = Counting()

    class Around:
        def __init__(self, width):
            self.memo_key = (inner, width)
            self.width = width

        def __call__(self, key, *args):
            return jnp.broadcast_to(inner(key, *args), (*args[0][:-1], self.width))

    for width in (1, 3, 1, 3):
        shapes = expected_shapes(Around(width), ((2, 1),), {})
        assert shapes == ((2, width),)
    assert inner.calls == 2


@pytest.mark.parametrize("dtype", [(), (jnp.float32,)])
def test_an_initializer_may_look_at_more_than_its_arguments(dtype):
    size = 2

    def init_fn(key, *dtype):
        return jnp.zeros((size, 3), *dtype)

    def model(scope):
        return scope.param("w", init_fn, *dtype)

    for size in (2, 4, 2):
        y, variables = init(model)(jax.random.key(0))
        assert apply(model)(variables).shape == y.shape == (size, 3)
    size = 5  # the error says what is expected now
    with pytest.raises(ScopeParamShapeError, match=r"\(7, 3\).*\(5, 3\)"):
        apply(model)({"params": {"w": jnp.zeros((7, 3))}})

    # Several arrays in one parameter.
    def tree_model(scope):
        return scope.param("w", lambda key: (init_fn(key), init_fn(key)))

    for size in (2, 4):
        _, variables = init(tree_model)(jax.random.key(0))
        assert apply(tree_model)(variables)[1].shape == (size, 3)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import Scope, apply, init
from batiste.core.errors import InvalidArgumentError
from batiste.core.scope.initial_values import (
    check_made,
    check_sizes,
    why_not_initialized,
)

KEY = jax.random.key(0)
INITIALIZERS = jax.nn.initializers


def declare(*args):
    def model(scope):
        return scope.push("layer").param("w", *args)

    return model


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("abc", (3,)), "initializer 'abc' .*cannot be called"),
        ((jnp.ones(3), (3,)), "initializer .*cannot be called"),
        (
            (INITIALIZERS.lecun_normal, (3, 3), jnp.float32),
            "Call it.*lecun_normal",
        ),
        ((INITIALIZERS.zeros, (3, -1)), "the shape .*not negative"),
        ((INITIALIZERS.zeros, (3, 2.5)), "the shape .*integers"),
        ((INITIALIZERS.zeros, (3, "a")), "the shape .*integers"),
        ((INITIALIZERS.zeros, (3, 2**62)), "more than any machine"),
        ((INITIALIZERS.normal(), (2**61, 2**61)), "more than any machine"),
        ((lambda: 3, (3,), jnp.float32), "does not take"),
    ],
)
def test_a_parameter_that_cannot_be_made(args, words):
    with pytest.raises(InvalidArgumentError, match=f'"w" in scope "/layer".*{words}'):
        init(declare(*args))(KEY)


def test_a_parameter_that_cannot_be_compared_with_its_initializer():
    variables = {"params": {"layer": {"w": jnp.ones(3)}}}
    with pytest.raises(InvalidArgumentError, match="initializer 'abc'"):
        apply(declare("abc", (3,)))(variables)


def test_a_parameter_that_is_none():
    variables = {"params": {"layer": {"w": None}}}
    with pytest.raises(InvalidArgumentError, match=r'"w" in scope "/layer" is None'):
        apply(declare(INITIALIZERS.zeros, (3,)))(variables)
    # Which it may be if its initializer makes it so.
    assert apply(declare(lambda key: None))(variables) is None


def test_what_is_no_shape_is_left_to_the_initializer():
    check_sizes(Scope({}), "w", ())
    check_sizes(Scope({}), "w", ("abc",))
    check_sizes(Scope({}), "w", (("a", "b"),))
    check_sizes(Scope({}), "w", ((np.int64(3), jnp.int32(4)),))
    value = init(lambda scope: scope.param("w", lambda key, n: n, 2**62))(KEY)[0]
    assert value == 2**62


def test_values_that_can_be_called_are_values():
    class Callable:
        def __call__(self):
            pass

    check_made(Scope({}), "w", Callable, Callable())


def test_other_errors_pass():
    for error in (KeyboardInterrupt(), InvalidArgumentError("text"), TypeError()):
        args = (Scope({}), "w", INITIALIZERS.zeros, ((3,),), error)
        assert why_not_initialized(*args) is None

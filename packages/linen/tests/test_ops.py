"""Operations that are traced as they are, and compiled when called eagerly."""

import jax
import pytest
from jax import lax
from jax import numpy as jnp

from batiste.linen.ops import eager_jit

JAX = tuple(int(part) for part in jax.__version__.split(".")[:2])
INLINED = JAX < (0, 12)
power = eager_jit(lambda x, n: lax.integer_pow(x, n), static_argnums=(1,))


def test_the_same_eagerly_and_traced():
    x = jnp.arange(4.0)
    assert power(x, 3).tolist() == jax.jit(lambda x: power(x, 3))(x).tolist()
    assert jax.grad(lambda x: power(x, 3))(2.0) == 12
    assert jax.vmap(lambda x: power(x, 2))(x).tolist() == [0, 1, 4, 9]


def test_the_jaxpr_has_no_nested_call():
    names = [e.primitive.name for e in jax.make_jaxpr(lambda x: power(x, 3))(1.0).eqns]
    assert names == ["integer_pow"]
    # Also not for an array that is concrete while something else is traced.
    x = jnp.arange(4.0)
    jaxpr = jax.make_jaxpr(lambda y: power(x, 3) + y)(x)
    first = "integer_pow" if INLINED else "jit"  # what JAX makes of `inline`
    assert [e.primitive.name for e in jaxpr.eqns] == [first, "add"]


@pytest.mark.skipif(not INLINED, reason="Remembering would leave nested calls.")
def test_derivatives_and_batches_are_remembered():
    x = jnp.ones(3)
    traced = []

    def cube(x):
        traced.append(x)
        return lax.integer_pow(x, 3)

    step = eager_jit(cube)
    for _ in range(3):
        jaxpr = jax.make_jaxpr(lambda x: jax.grad(lambda x: step(x))(x))(x[0])
        jax.make_jaxpr(lambda x: jax.vmap(lambda x: step(x))(x))(x)
    assert len(traced) == 1  # both are made of one jaxpr
    names = {e.primitive.name for e in jaxpr.eqns}
    assert names <= {"integer_pow", "mul"}


def test_disable_jit():
    with jax.disable_jit():
        assert power(jnp.arange(3.0), 2).tolist() == [0, 1, 4]

"""Operations that are traced as they are, and compiled when called eagerly."""

import jax
import numpy as np
import pytest
from jax import export, lax
from jax import numpy as jnp

from batiste.linen import ops
from batiste.linen.ops import eager_jit

NEGATIVE = jax.jit(lambda x: -x, inline=True)
ONES = jnp.ones(2)
# What JAX makes of `inline` where an argument is concrete: until 0.10, no nested call.
INLINED = "jit" not in {
    equation.primitive.name
    for equation in jax.make_jaxpr(lambda y: NEGATIVE(ONES) + y)(1.0).eqns
}
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


def primitives(function, *args):
    return [e.primitive.name for e in jax.make_jaxpr(function)(*args).eqns]


def test_a_bias_is_added_along_the_last_axes():
    y = ops.add(jnp.zeros((2, 3, 2)), jnp.arange(6.0).reshape(3, 2))
    assert y[1].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert primitives(ops.add, jnp.zeros(3), jnp.zeros(3)) == ["add"]
    assert primitives(ops.add, jnp.zeros((2, 3)), jnp.zeros(3)) == ["reshape", "add"]


@pytest.mark.parametrize(("op", "expected"), [(ops.add, [0, 1]), (ops.mul, [0, 0])])
def test_the_second_operand_is_laid_out_as_told(op, expected):
    y = op(jnp.zeros((2, 3)), jnp.arange(2.0), (2, 1))
    assert y.tolist() == [[expected[0]] * 3, [expected[1]] * 3]


@pytest.mark.parametrize("op", [ops.add, ops.sub, ops.mul])
def test_operands_of_different_dtypes_are_promoted(op):
    assert op(jnp.zeros(2, jnp.bfloat16), jnp.ones(2)).dtype == jnp.float32


@pytest.mark.parametrize("op", [ops.add_const, ops.mul_const, ops.div_const])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_constant_takes_the_dtype_of_the_array(op, dtype):
    assert op(jnp.ones(2, dtype), 1e-5).dtype == dtype
    assert op(jnp.ones(2, dtype), 1e30).shape == (2,)  # infinite in float16


def test_where_broadcasts_the_mask_and_the_array():
    mask = jnp.array([[True, False]])
    y = ops.where(mask, jnp.array([[1.0], [2.0]]), -1)
    assert y.tolist() == [[1, -1], [2, -1]]


def test_clipped_sub_is_never_negative_and_keeps_nan():
    y = ops.clipped_sub(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([2.0, 1.0, 0.0]))
    assert y[:2].tolist() == [0, 2]
    assert jnp.isnan(y[2])


def test_means_of_half_precision_are_summed_in_float32():
    x = jnp.ones((2, 5000), jnp.float16)
    assert ops.mean(x, (1,)).tolist() == [1, 1]
    mask = jnp.arange(5000)[None] < 4000
    y = ops.masked_mean(x, mask, (1,))
    assert y.dtype == jnp.float16
    assert y.tolist() == [1, 1]


def test_means_over_open_sizes():
    shape = export.symbolic_shape("b, t, 3")
    spec = jax.ShapeDtypeStruct(shape, jnp.float32)
    function = jax.jit(lambda x: ops.mean(x, (0, 1)))
    x = np.linspace(0, 1, 5 * 7 * 3, dtype=np.float32).reshape(5, 7, 3)
    found = export.export(function)(spec).call(x)
    np.testing.assert_array_equal(found, function(x))


def test_take_counts_ids_below_zero_from_the_end():
    table = jnp.arange(600.0).reshape(300, 2)
    ids = jnp.array([-1, 1], jnp.int8)  # of which 300 is none
    assert ops.take(table, ids).tolist() == [[598, 599], [2, 3]]


def test_as_array_and_as_tuple():
    x = jnp.ones(2)
    assert ops.as_array(x) is x
    assert isinstance(ops.as_array(np.ones(2)), jax.Array)
    assert ops.as_tuple(2) == (2,)
    assert ops.as_tuple([2, 3]) == (2, 3)


def test_every_operation_is_found_by_its_own_name():
    plain = {"eager_jit", "as_array", "as_tuple"}
    for name in set(ops.__all__) - plain:
        operation = getattr(ops, name)
        assert operation.__name__ == name
        assert operation.__wrapped__ is not None

"""Products of 8-bit numbers, against exact ones."""

import warnings

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from batiste.linen import fp8_ops

MATRIX = (((1,), (0,)), ((), ()))
DIMENSIONS = [
    ((3, 4), (4, 5), MATRIX),
    ((4,), (4, 2), (((0,), (0,)), ((), ()))),
    ((3,), (4,), (((), ()), ((), ()))),
    ((2, 3, 4, 5), (5, 2, 3, 6, 7), (((1, 3), (2, 0)), ((0,), (1,)))),
    ((2, 3, 4), (4, 3, 2, 5), (((1,), (1,)), ((0, 2), (2, 0)))),
]


def small(seed, *shape):
    """Integers, which 8-bit numbers hold exactly."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(-3, 4, shape), jnp.float32)


def statistics(length=2):
    names = ("lhs", "rhs", "grad")
    scales = {f"{name}_scale": jnp.ones(1) for name in names}
    return scales | {f"{name}_amax_history": jnp.zeros(length) for name in names}


@pytest.mark.parametrize(("left", "right", "dimensions"), DIMENSIONS)
def test_gradients_are_those_of_dot_general(left, right, dimensions):
    x, w = small(0, *left), small(1, *right)
    y, pull = jax.vjp(lambda x, w: lax.dot_general(x, w, dimensions), x, w)
    g = small(2, *y.shape)
    found, fp8_pull = jax.vjp(
        lambda x, w: fp8_ops.fp8_scaled_dot_general(
            x, w, dimensions, None, jnp.float32, **statistics()
        ),
        *(x, w),
    )
    assert np.array_equal(found, y)
    for expected, each in zip(pull(g), fp8_pull(g)):
        assert np.array_equal(expected, each)
    turned = tuple(pair[::-1] for pair in dimensions)
    g = small(3, *lax.dot_general(w, x, turned).shape)
    expected = jax.vjp(lambda x: lax.dot_general(w, x, turned), x)[1](g)[0]
    kwargs = {"precision": None, "preferred_element_type": None, "swap_ans": True}
    found = fp8_ops.dot_general_transpose_lhs(
        g, x, w, dimension_numbers=dimensions, **kwargs
    )
    assert np.array_equal(expected, found)


def test_gradients_of_statistics_are_their_next_values():
    x, w = jnp.full((1, 2), 3.0), jnp.full((2, 1), 5.0)

    def total(kept):
        product = fp8_ops.fp8_scaled_dot_general(
            x, w, MATRIX, None, jnp.float32, **kept
        )
        return 7.0 * product.sum()

    kept = jax.grad(total)(statistics())
    assert {name: value.tolist() for name, value in kept.items()} == {
        "lhs_scale": [1.0],
        "rhs_scale": [1.0],
        "grad_scale": [1.0],
        "lhs_amax_history": [3.0, 0.0],
        "rhs_amax_history": [5.0, 0.0],
        "grad_amax_history": [7.0, 0.0],
    }
    kept = jax.grad(total)(kept)
    np.testing.assert_allclose(kept["lhs_scale"], 3 / 448, rtol=1e-6)
    np.testing.assert_allclose(kept["grad_scale"], 7 / 57344, rtol=1e-6)


@pytest.mark.parametrize("missing", statistics())
def test_missing_statistics_are_named(missing):
    kept = {name: value for name, value in statistics().items() if name != missing}
    with pytest.raises(TypeError, match=rf"lacks {missing}; give each scale"):
        fp8_ops.fp8_scaled_dot_general(
            jnp.ones((1, 1)), jnp.ones((1, 1)), MATRIX, **kept
        )


def test_precision_is_chosen_by_the_product():
    x = jnp.ones((1, 1))
    product = fp8_ops.dot_general_with_precision
    with pytest.warns(UserWarning, match="precision='high' has no effect"):
        fp8_ops.fp8_scaled_dot_general(x, x, MATRIX, "high", **statistics())
    with pytest.warns(UserWarning, match="precision='high' and preferred_element_type"):
        product(x, x, MATRIX, "high")
    with pytest.warns(UserWarning, match="preferred_element_type=.*bfloat16.* have no"):
        product(x, x, MATRIX, None, jnp.bfloat16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = str(jax.make_jaxpr(jax.grad(lambda x: product(x, x, MATRIX)[0, 0]))(x))
    assert "DEFAULT" in text
    assert text.count("HIGHEST") == 4


def test_forward_mode():
    x, w = small(0, 3, 4), small(1, 4, 5)
    product = fp8_ops.dot_general_with_precision
    y, y_dot = jax.jvp(lambda x, w: product(x, w, MATRIX), (x, w), (2 * x, 3 * w))
    assert np.array_equal(y, x @ w)
    assert np.array_equal(y_dot, 5 * (x @ w))

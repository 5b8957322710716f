"""Looking up embeddings, and attending to them."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.linen.linear.embed import Embed

KEY = jax.random.key(0)


def table_of(variables):
    return variables["params"]["embedding"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
def test_lookup(dtype):
    ids = np.array([[0, 3], [6, 3]], dtype)
    y, variables = Embed(7, 3).init_with_output(KEY, ids)
    assert y.shape == (2, 2, 3)
    assert np.array_equal(y, table_of(variables)[ids.astype(int)])


def test_ids_below_zero_count_from_the_end_and_those_too_large_give_nan():
    y, variables = Embed(7, 3).init_with_output(KEY, jnp.array([-1, -7, 7, -8]))
    assert np.array_equal(y[:2], table_of(variables)[jnp.array([6, 0])])
    assert np.isnan(y[2:]).all()


def test_a_table_longer_than_the_ids_dtype_counts():
    y, variables = Embed(300, 3).init_with_output(KEY, np.array([-1, 5], np.int8))
    assert np.array_equal(y, table_of(variables)[jnp.array([299, 5])])


def test_one_embedding_is_that_of_every_id():
    y, variables = Embed(1, 3).init_with_output(KEY, jnp.array([0, 5]))
    assert np.array_equal(y[1], table_of(variables)[0])


def test_scalars_and_no_ids():
    layer = Embed(7, 3)
    variables = layer.init(KEY, 2)
    assert layer.apply(variables, 2).shape == (3,)
    assert layer.apply(variables, jnp.zeros((0, 4), int)).shape == (0, 4, 3)


def test_attend():
    layer = Embed(7, 3)
    variables = layer.init(KEY, 0)
    query = jax.random.normal(KEY, (2, 5, 3))
    logits = layer.apply(variables, query, method="attend")
    np.testing.assert_allclose(logits, query @ table_of(variables).T, rtol=1e-5)


def test_dtypes():
    layer = Embed(7, 3, dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(KEY, jnp.array([1]))
    assert y.dtype == jnp.bfloat16
    assert table_of(variables).dtype == jnp.float32


@pytest.mark.parametrize("ids", [np.ones(2), np.array([True])])
def test_ids_that_are_no_integers(ids):
    with pytest.raises(
        ValueError, match=r"Embed: ids of dtype (float32|bool) are no numbers of rows"
    ):
        Embed(7, 3).init(KEY, ids)


def test_jaxpr_has_no_nested_call():
    layer = Embed(7, 3)
    ids = jnp.array([1], jnp.uint8)
    jaxpr = jax.make_jaxpr(layer.apply)(layer.init(KEY, ids), ids)
    assert [e.primitive.name for e in jaxpr.eqns] == ["broadcast_in_dim", "gather"]

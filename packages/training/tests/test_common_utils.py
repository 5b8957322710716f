"""Sharding, stacking, metrics and one-hot labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.training import common_utils, jax_utils

D = jax.local_device_count()


def test_shard_splits_the_leading_axis():
    tree = {"a": np.arange(2 * D * 3).reshape(2 * D, 3), "b": [jnp.arange(D)]}
    sharded = common_utils.shard(tree)
    assert sharded["a"].shape == (D, 2, 3)
    assert sharded["b"][0].shape == (D, 1)
    assert type(sharded["a"]) is np.ndarray
    np.testing.assert_array_equal(sharded["a"].reshape(2 * D, 3), tree["a"])


@pytest.mark.parametrize("bad", [np.zeros((3 * D + 1, 2)), np.float32(1)])
def test_shard_names_what_cannot_be_split(bad):
    if D == 1 and bad.shape:
        pytest.skip("one device splits every axis")
    with pytest.raises(ValueError, match=r"\['x'\]\[0\].*multiple of the number"):
        common_utils.shard({"x": [bad]})


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_shard_prng_key_splits_by_device(make):
    key = make(3)
    keys = common_utils.shard_prng_key(key)
    assert keys.shape == (D, *key.shape)
    assert (keys == jax.random.split(key, D)).all()


def test_stack_forest_stacks_leaf_by_leaf():
    forest = [{"a": np.full(2, i), "b": float(i)} for i in range(3)]
    stacked = common_utils.stack_forest(forest)
    assert stacked["a"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert stacked["b"].tolist() == [0, 1, 2]
    assert isinstance(stacked["a"], jax.Array)


@pytest.mark.parametrize(
    ("forest", "message"),
    [
        ([], "forest is empty"),
        ([{"a": 1}, {"b": 1}], "a"),
        ([{"a": np.zeros(2)}, {"a": np.zeros(3)}], "same shape"),
    ],
)
def test_stack_forest_refuses_what_does_not_match(forest, message):
    with pytest.raises(ValueError, match=message):
        common_utils.stack_forest(forest)


def test_get_metrics_takes_one_device_and_stacks_over_time():
    steps = [jax_utils.replicate({"loss": np.float32(i)}) for i in range(3)]
    assert common_utils.get_metrics(steps)["loss"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("on", "off"), [(1.0, 0.0), (0.9, 0.1), (2, 1)])
def test_onehot(on, off):
    labels = jnp.array([[0, 2], [5, -1]])
    out = common_utils.onehot(labels, 3, on_value=on, off_value=off)
    assert out.shape == (2, 2, 3)
    assert out.dtype == jnp.float32
    expected = np.full((2, 2, 3), off, np.float32)
    expected[0, 0, 0] = expected[0, 1, 2] = on
    np.testing.assert_array_equal(out, expected)

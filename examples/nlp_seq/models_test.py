"""Padding changes nothing, context does, and the full model has a plan."""

import jax
import numpy as np
import pytest
import train
from configs import default
from input_pipeline import NUM_AFFIXES, PAD, UNKNOWN, Batch
from models import Tagger, WordFeatures

from batiste import spmd

SIZES = train.Sizes(words=20_000, tags=18)


@pytest.fixture
def model():
    return Tagger(
        num_words=20,
        num_affixes=32,
        num_tags=5,
        features=16,
        num_layers=2,
        num_heads=2,
        mlp_size=32,
    )


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    words = rng.integers(1, 20, (3, 8))
    affixes = rng.integers(1, 32, (3, 8, NUM_AFFIXES))
    words[1, 5:], affixes[1, 5:] = PAD, PAD
    return words, affixes


@pytest.fixture
def variables(model, inputs):
    return model.init(jax.random.key(0), *inputs)


def test_one_logit_for_each_tag_of_each_word(model, variables, inputs):
    assert model.apply(variables, *inputs).shape == (3, 8, 5)


def test_padding_changes_nothing(model, variables, inputs):
    words, affixes = inputs
    wider = np.pad(words, ((0, 0), (0, 4))), np.pad(affixes, ((0, 0), (0, 4), (0, 0)))
    np.testing.assert_allclose(
        model.apply(variables, *wider)[:, :8][words != PAD],
        model.apply(variables, *inputs)[words != PAD],
        atol=1e-5,
    )


def test_the_other_words_and_their_order_count(model, variables, inputs):
    words, affixes = inputs
    logits = model.apply(variables, words, affixes)[0, 0]
    turned = [np.concatenate([x[:, :1], x[:, :0:-1]], axis=1) for x in inputs]
    assert np.abs(model.apply(variables, *turned)[0, 0] - logits).max() > 1e-3
    changed = words.copy()
    changed[0, 7] = words[0, 7] % 19 + 1
    assert np.abs(model.apply(variables, changed, affixes)[0, 0] - logits).max() > 1e-3


def test_words_are_lost_in_training_only():
    layer = WordFeatures(20, 32, 8, word_dropout=1.0)
    words, affixes = np.array([[5, 6, PAD]]), np.ones((1, 3, NUM_AFFIXES), int)
    variables = layer.init(jax.random.key(0), words, affixes, train=False)
    rngs = {"dropout": jax.random.key(1)}
    lost = layer.apply(variables, words, affixes, train=True, rngs=rngs)
    expected = layer.apply(
        variables, np.array([[UNKNOWN, UNKNOWN, PAD]]), affixes, train=False
    )
    np.testing.assert_array_equal(lost, expected)
    kept = layer.apply(variables, words, affixes, train=False)
    assert (kept != expected).any()


def test_the_full_model_has_a_plan():
    config = default.get_config()
    state = jax.eval_shape(lambda: train.create_state(config, SIZES, 100))
    plan = spmd.plan(state.params, jax.sharding.AbstractMesh((8,), ("data",)))
    number = sum(x.size for x in jax.tree.leaves(state.params))
    assert 40e6 < number < 50e6
    # Data parallel: each device holds all of it.
    assert plan.bytes_per_device == plan.total_bytes == 4 * number


def test_the_full_model_at_a_tiny_width_takes_a_step():
    config = default.get_config()
    full = jax.eval_shape(lambda: train.create_state(config, SIZES, 100))
    config.update(num_affixes=32, features=16, mlp_size=32)
    state = train.create_state(config, train.Sizes(20, 5), 100)
    assert jax.tree.structure(state.params) == jax.tree.structure(full.params)
    words = np.array([[3, 4, 5, PAD]])
    affixes = np.ones((1, 4, NUM_AFFIXES), int)
    batch = Batch(words, affixes, np.array([[1, 2, 1, PAD]]))
    state, sums = train.train_step(state, batch, jax.random.key(0), 0.1)
    assert np.isfinite(sums["loss"])
    assert sums["count"] == 3
    assert state.step == 1

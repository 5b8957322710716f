"""Padding changes nothing, order does, and the full model has a plan."""

import jax
import numpy as np
import pytest
import train
from configs import default
from input_pipeline import PAD, UNKNOWN, Batch
from models import SentimentLSTM, WordDropout

from batiste import spmd


@pytest.fixture
def model():
    return SentimentLSTM(vocab_size=20, embed_size=8, hidden_size=8)


@pytest.fixture
def words():
    found = np.random.default_rng(0).integers(2, 20, (3, 8))
    found[1, 5:] = PAD
    return found


@pytest.fixture
def variables(model, words):
    return model.init(jax.random.key(0), words)


def test_one_logit_for_each_sentence(model, variables, words):
    assert model.apply(variables, words).shape == (3,)


def test_padding_changes_nothing(model, variables, words):
    wider = np.pad(words, ((0, 0), (0, 4)))
    np.testing.assert_allclose(
        model.apply(variables, wider), model.apply(variables, words), atol=1e-6
    )


def test_the_order_of_words_counts(model, variables, words):
    turned = words[:, ::-1]
    apart = model.apply(variables, turned)[0] - model.apply(variables, words)[0]
    assert abs(apart) > 1e-4


def test_words_are_lost_in_training_only():
    layer = WordDropout(1.0)
    words = np.array([[5, 6, PAD]])
    rngs = {"dropout": jax.random.key(0)}
    lost = layer.apply({}, words, train=True, rngs=rngs)
    assert lost.tolist() == [[UNKNOWN, UNKNOWN, PAD]]
    assert layer.apply({}, words, train=False).tolist() == words.tolist()


def test_the_full_model_has_a_plan():
    config = default.get_config()
    state = jax.eval_shape(lambda: train.create_state(config, config.vocab_size, 100))
    plan = spmd.plan(state.params, jax.sharding.AbstractMesh((8,), ("data",)))
    number = sum(x.size for x in jax.tree.leaves(state.params))
    cell = 4 * 256 * (300 + 256 + 1)
    assert number == 20_000 * 300 + 2 * cell + 2 * 256 + 1
    # Data parallel: each device holds all of it.
    assert plan.bytes_per_device == plan.total_bytes == 4 * number


def test_the_full_model_at_a_tiny_width_takes_a_step():
    config = default.get_config()
    full = jax.eval_shape(lambda: train.create_state(config, config.vocab_size, 100))
    config.update(embed_size=4, hidden_size=4)
    state = train.create_state(config, 20, 100)
    assert jax.tree.structure(state.params) == jax.tree.structure(full.params)
    batch = Batch(np.array([[3, 4], [5, PAD]]), np.array([1, 0]), np.array([1.0, 1.0]))
    state, sums = train.train_step(state, batch, jax.random.key(0))
    assert np.isfinite(sums["loss"])
    assert sums["count"] == 2
    assert state.step == 1

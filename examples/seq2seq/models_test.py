"""Padding changes nothing, the decoder sees no answer, the full model has a plan."""

import input_pipeline
import jax
import numpy as np
import pytest
import train
from configs import default
from input_pipeline import END, PAD
from jax import numpy as jnp
from models import Seq2seq, greedy_answers

from batiste import spmd


@pytest.fixture(params=[1, 2])
def model(request):
    return Seq2seq(embed_size=8, hidden_size=16, num_layers=request.param)


@pytest.fixture
def batch(tiny):
    tiny.update(max_digits=2, any_length=0.5)
    return input_pipeline.make_batch(tiny, 0)


@pytest.fixture
def params(model, batch):
    return model.init(jax.random.key(0), *batch)["params"]


def test_one_logit_for_each_token_at_each_place(model, params, batch):
    logits = model.apply({"params": params}, *batch)
    assert logits.shape == (*batch.answer.shape, len(input_pipeline.VOCABULARY))
    assert logits.dtype == jnp.float32


def test_padding_of_queries_changes_nothing(model, params, batch):
    wider = np.pad(batch.query, ((0, 0), (0, 5)), constant_values=PAD)
    np.testing.assert_allclose(
        model.apply({"params": params}, wider, batch.answer),
        model.apply({"params": params}, *batch),
        atol=1e-6,
    )


def test_the_decoder_sees_only_what_comes_before(model, params, batch):
    before = model.apply({"params": params}, *batch)
    changed = batch.answer.copy()
    changed[:, 1] = END
    after = model.apply({"params": params}, batch.query, changed)
    np.testing.assert_array_equal(after[:, :2], before[:, :2])
    assert (after[:, 2] != before[:, 2]).any()


def test_greedy_answers_are_the_likeliest_after_themselves(model, params, batch):
    given = greedy_answers(model, params, batch.query, 7)
    assert given.shape == (len(batch.query), 7)
    logits = model.apply({"params": params}, batch.query, given)
    np.testing.assert_array_equal(logits.argmax(-1), given)


def test_the_full_model_has_a_plan():
    config = default.get_config()
    state = jax.eval_shape(lambda: train.create_state(config))
    plan = spmd.plan(state.params, jax.sharding.AbstractMesh((8,), ("data",)))
    sizes = [x.size for x in jax.tree.leaves(state.params)]
    lstm = sum(4 * 512 * (inputs + 512 + 1) for inputs in (64, 512))
    assert sum(sizes) == 2 * lstm + 13 * 64 + 13 * (512 + 1)
    # Data parallel: each device holds all of it.
    assert plan.bytes_per_device == plan.total_bytes == 4 * sum(sizes)


def test_the_full_model_at_a_tiny_width_takes_a_step():
    config = default.get_config()
    config.update(embed_size=4, hidden_size=8, batch_size=4)
    state = train.create_state(config)
    full = jax.eval_shape(lambda: train.create_state(default.get_config()))
    assert jax.tree.structure(state.params) == jax.tree.structure(full.params)
    batch = input_pipeline.make_batch(config, 0)
    state, loss = train.train_step(state, batch)
    assert np.isfinite(loss)
    assert state.step == 1

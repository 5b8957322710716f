"""The model, sampling from it, and the n-grams."""

from __future__ import annotations

import itertools
import math

import input_pipeline
import jax
import models
import numpy as np
import pytest
import sampling
from input_pipeline import Corpus
from jax import numpy as jnp
from ngram import NGram
from program import token_losses

EOS = 1
TINY = models.Config(
    vocab_size=13, embed=16, heads=2, layers=2, mlp=32, dropout=0.0, attention_dropout=0
)


def batch_of(texts, length, pack=False):
    starts = np.cumsum([0, *map(len, texts)])
    corpus = Corpus(np.concatenate(texts).astype(np.int32), starts)
    rows = tuple((index,) for index in range(len(texts)))
    if pack:
        rows = (tuple(range(len(texts))),)
    return input_pipeline.Batch(corpus, rows, length).arrays()


def texts(seed, count):
    rng = np.random.default_rng(seed)
    return [
        np.append(rng.integers(2, 13, rng.integers(1, 6)), EOS) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def made():
    model = models.LanguageModel(TINY)
    params = model.init(jax.random.key(0), batch_of(texts(0, 1), 8))["params"]
    # Embeddings as large as those of a trained model, so that something depends on
    # what is attended to.
    return model, jax.tree.map(lambda x: 3 * x, params)


def test_packed_and_unpacked_losses_are_equal(made):
    model, params = made

    def losses(pack):
        batch = batch_of(texts(2, 4), 24 if pack else 7, pack)
        logits = model.apply({"params": params}, batch)
        return token_losses(logits, batch["tokens"], 0.0)[1][batch["segments"] > 0]

    np.testing.assert_allclose(losses(True), losses(False), rtol=2e-5, atol=1e-5)


def test_a_token_does_not_see_what_follows(made):
    model, params = made
    text = np.array([4, 5, 6, 7, EOS])

    def logits(text):
        return np.asarray(model.apply({"params": params}, batch_of([text], 5)))[0]

    before = logits(text)
    text[2] = 9
    after = logits(text)
    np.testing.assert_array_equal(before[:3], after[:3])
    assert not np.allclose(before[3:], after[3:])


@pytest.mark.parametrize(
    ("temperature", "top"), [(0.0, 0), (0.7, 0), (1.0, 3), (3.0, 0)]
)
def test_sampling_with_the_cache_equals_sampling_without(made, temperature, top):
    model, params = made
    prompts = np.array([[5, 7], [9, 0], [2, 3], [0, 0]], np.int32)
    length, key = 9, jax.random.key(3)
    found = sampling.sample(TINY, params, prompts, length, key, EOS, temperature, top)

    @jax.jit
    def whole(tokens):
        positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
        batch = {"positions": positions, "segments": jnp.ones_like(tokens)}
        return model.apply({"params": params}, {**batch, "tokens": tokens})

    tokens = np.zeros((4, length), np.int32)
    for at in range(length):
        logits = whole(tokens)[:, at]
        drawn = sampling.choose(jax.random.fold_in(key, at), logits, temperature, top)
        if at < 2:
            drawn = np.where(prompts[:, at] > 0, prompts[:, at], drawn)
        ended = (tokens[:, :at] == EOS).any(axis=1)
        tokens[:, at] = np.where(ended, 0, drawn)
    np.testing.assert_array_equal(found, tokens)
    np.testing.assert_array_equal(found[0, :2], [5, 7])
    assert len({tuple(row) for row in tokens.tolist()}) > 1


def test_choosing():
    logits = jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4]] * 4000))
    key = jax.random.key(0)

    def shares(temperature, top=0):
        drawn = sampling.choose(key, logits, temperature, top)
        return np.bincount(drawn, minlength=4) / 4000

    np.testing.assert_array_equal(shares(0.0), [0, 0, 0, 1])
    np.testing.assert_allclose(shares(1.0), [0.1, 0.2, 0.3, 0.4], atol=0.03)
    wanted = np.array([1, 4, 9, 16]) / 30
    np.testing.assert_allclose(shares(0.5), wanted, atol=0.03)
    np.testing.assert_allclose(shares(1.0, top=2), [0, 0, 3 / 7, 4 / 7], atol=0.03)


def test_a_vocabulary_is_rounded_up(config):
    config.vocab_multiple = 64
    assert models.make_config(config, 130).vocab_size == 192
    assert models.make_config(config, 128).vocab_size == 128


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_of_ngrams_sum_to_one(order):
    counted = NGram([t.tolist() for t in texts(0, 30)], order, 13)
    for before in itertools.product((2, 5, 12), repeat=2):
        total = sum(counted.probability(token, before) for token in range(13))
        assert total == pytest.approx(1)
    assert counted.probability(3, []) > 0


def test_ngrams_by_hand():
    counted = NGram([[2, 3], [2, 4], [2, 3]], order=2, vocab_size=5, discount=0.5)
    # Kinds of bigrams: 0 2, 2 3, 2 4. So 2, 3 and 4 were each seen behind one token.
    alone = (1 - 0.5 + 0.5 * 3 / 5) / 3
    assert counted.probability(3, []) == pytest.approx((0.5 * 1 * alone) / 3)
    assert counted.probability(3, [2]) == pytest.approx((2 - 0.5 + 0.5 * 2 * alone) / 3)
    assert counted.probability(4, [2]) == pytest.approx((1 - 0.5 + 0.5 * 2 * alone) / 3)
    assert counted.probability(4, [4]) == pytest.approx(alone)  # never seen before
    wanted = -math.log(counted.probability(2, [])) - math.log(
        counted.probability(4, [2])
    )
    assert counted.loss([[2, 4]]) == pytest.approx(wanted)

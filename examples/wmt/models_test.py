"""The model: packed or not, with the cache or without; and the search."""

from __future__ import annotations

import dataclasses
import itertools

import decode
import input_pipeline
import jax
import models
import numpy as np
import pytest
from input_pipeline import Corpus
from jax import numpy as jnp
from program import token_losses

EOS = 1
TINY = models.Config(
    vocab_size=5, embed=16, heads=2, layers=2, mlp=32, dropout=0.0, attention_dropout=0
)


def batch_of(sources, targets, length, pack=False):
    sides = []
    for side in (sources, targets):
        starts = np.cumsum([0, *map(len, side)])
        sides.append((np.concatenate(side).astype(np.int32), starts))
    corpus = Corpus((sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]), 0)
    rows = (tuple(range(len(sources))),)
    if not pack:
        rows = tuple((index,) for index in range(len(sources)))
    return input_pipeline.Batch(corpus, rows, length).arrays()


def sentences(seed, count, vocab, longest=6):
    rng = np.random.default_rng(seed)
    return [
        np.append(rng.integers(2, vocab, rng.integers(1, longest)), EOS)
        for _ in range(count)
    ]


def make(config, seed=0):
    model = models.Translator(config)
    batch = batch_of(sentences(0, 1, 5), sentences(1, 1, 5), 8)
    params = model.init(jax.random.key(seed), batch)["params"]
    # Embeddings as large as those of a trained model, so that something depends on
    # what is attended to.
    return model, jax.tree.map(lambda x: 3 * x, params)


@pytest.mark.parametrize("train", [False, True])
def test_packed_and_unpacked_losses_are_equal(train):
    config = dataclasses.replace(TINY, vocab_size=11)
    model, params = make(config)
    sources, targets = sentences(2, 4, 11), sentences(3, 4, 11)

    def losses(pack):
        length = 24 if pack else 7
        batch = batch_of(sources, targets, length, pack)
        rngs = {"dropout": jax.random.key(0)}
        logits = model.apply({"params": params}, batch, train=train, rngs=rngs)
        found = token_losses(logits, batch["targets"], 0.1)
        real = batch["targets_segments"] > 0
        return np.array([np.asarray(each)[real] for each in found])

    assert batch_of(sources, targets, 24, True)["targets"].shape == (1, 24)
    np.testing.assert_allclose(losses(True), losses(False), rtol=2e-5, atol=1e-5)


def test_a_sentence_does_not_see_its_neighbour_nor_what_follows():
    config = dataclasses.replace(TINY, vocab_size=11)
    model, params = make(config)
    sources, targets = sentences(2, 2, 11), sentences(3, 2, 11)

    def logits(sources, targets):
        batch = batch_of(sources, targets, 14, pack=True)
        return np.asarray(model.apply({"params": params}, batch))[0]

    size = len(targets[0])
    before = logits(sources, targets)
    after = logits([sources[0], (sources[1] + 1) % 11], targets)
    np.testing.assert_array_equal(before[:size], after[:size])
    assert not np.allclose(before[size : size + 1], after[size : size + 1])
    changed = targets[0].copy()
    changed[1] = 9 if changed[1] != 9 else 8
    after = logits(sources, [changed, targets[1]])
    np.testing.assert_array_equal(before[:2], after[:2])
    assert size == 2 or not np.allclose(before[2:size], after[2:size])


def test_label_smoothing():
    logits = jnp.array([[[2.0, 0.0, -1.0]]])
    smooth, sharp = token_losses(logits, jnp.array([[0]]), 0.3)
    each = -jax.nn.log_softmax(logits)[0, 0]
    wanted = each @ jnp.array([0.8, 0.1, 0.1])
    np.testing.assert_allclose(smooth[0, 0], wanted, rtol=1e-6)
    np.testing.assert_allclose(sharp[0, 0], each[0], rtol=1e-6)


def test_decoding_with_the_cache_equals_decoding_the_whole():
    model, params = make(dataclasses.replace(TINY, vocab_size=11))
    sources, targets = sentences(4, 3, 11), sentences(5, 3, 11)
    batch = batch_of(sources, targets, 8)
    whole = np.asarray(model.apply({"params": params}, batch))

    step_by_step = models.Translator(dataclasses.replace(model.config, decode=True))
    encoded = model.apply({"params": params}, batch, method="encode")
    mask = models.segment_mask(jnp.ones((3, 1), jnp.int32), batch["inputs_segments"])
    tokens = models.shift_right(batch["targets"], batch["targets_positions"])
    args = (encoded, mask)
    variables = step_by_step.init(jax.random.key(0), *args, tokens, method="decode")
    cache = variables["cache"]
    for at in range(8):
        logits, changed = step_by_step.apply(
            {"params": params, "cache": cache},
            *args,
            tokens[:, at : at + 1],
            method="decode",
            mutable=["cache"],
        )
        cache = changed["cache"]
        real = batch["targets_segments"][:, at] > 0
        np.testing.assert_allclose(
            np.asarray(logits)[real, 0], whole[real, at], rtol=1e-4, atol=1e-4
        )
    assert int(cache["decoder"]["position"]) == 8


def exhaustive(log_prob, vocab, length, alpha):
    """All sentences of at most `length` tokens, the best first."""
    found = []
    for size in range(length):
        for head in itertools.product(
            [t for t in range(vocab) if t != EOS], repeat=size
        ):
            tokens = (*head, EOS)
            score = log_prob(tokens) / decode.length_penalty(len(tokens), alpha)
            found.append((score, tokens + (0,) * (length - len(tokens))))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_beam_search_equals_exhaustive_search(alpha):
    """On tables of what follows the last two tokens, for each sentence and place."""
    vocab, length, batch, beams = 3, 5, 2, 40
    rng = np.random.default_rng(7)
    shape = (length, batch, vocab, vocab, vocab)
    table = 2 * rng.normal(size=shape).astype(np.float32)
    table = np.asarray(jax.nn.log_softmax(table))

    def step(tokens, cache):
        row = jnp.arange(batch * beams) // beams
        before, last = cache["last"], tokens[:, 0]
        logits = jnp.asarray(table)[cache["steps"], row, before, last]
        return logits, {"last": last, "steps": cache["steps"] + 1}

    start = {"last": jnp.zeros(batch * beams, jnp.int32), "steps": jnp.int32(0)}
    tokens, scores = decode.beam_search(
        step, start, batch, beams, length, EOS, alpha=alpha
    )
    for row in range(batch):

        def log_prob(sentence, row=row):
            seen, total = (0, 0), 0.0
            for at, token in enumerate(sentence):
                total += table[at, row, seen[0], seen[1], token]
                seen = (seen[1], token)
            return total

        wanted = exhaustive(log_prob, vocab, length, alpha)
        assert len(wanted) == 31 < beams
        np.testing.assert_allclose(
            scores[row, :31], [score for score, _ in wanted], rtol=1e-5
        )
        assert [tuple(each) for each in tokens[row, :31].tolist()] == [
            each for _, each in wanted
        ]
        assert not np.isfinite(scores[row, 31:]).any()


def test_the_search_with_a_model_equals_exhaustive_search():
    model, params = make(TINY)
    batch = batch_of(sentences(6, 2, 5), sentences(7, 2, 5), 6)
    length, beams = 3, 40  # so that 2 * beams candidates are all
    tokens, scores = decode.translate(
        TINY, params, batch, beams, length, EOS, alpha=0.6
    )
    whole = jax.jit(lambda batch: model.apply({"params": params}, batch))
    every = [
        tokens + (0,) * (length - len(tokens))
        for size in range(length)
        for head in itertools.product((0, 2, 3, 4), repeat=size)
        for tokens in [(*head, EOS)]
    ]
    for row in range(2):
        one = {name: x[[row] * len(every)] for name, x in batch.items()}
        one["targets"] = np.array(every)
        sizes = np.argmax(one["targets"] == EOS, axis=1) + 1
        count = np.broadcast_to(np.arange(length), one["targets"].shape)
        one["targets_positions"] = count
        one["targets_segments"] = (count < sizes[:, None]).astype(np.int32)
        each = token_losses(whole(one), one["targets"], 0.0)[1]
        total = -np.where(one["targets_segments"], each, 0).sum(axis=1)
        wanted = total / decode.length_penalty(sizes, 0.6)
        order = np.argsort(-wanted)
        np.testing.assert_allclose(scores[row, :21], wanted[order], rtol=1e-4)
        assert tokens[row, :3].tolist() == [list(every[i]) for i in order[:3]]


def test_one_beam_takes_the_best_token_each_time():
    def step(tokens, cache):
        # After each token the next larger one; after 4, EOS.
        following = jnp.where(tokens[:, 0] == 4, EOS, jnp.maximum(tokens[:, 0] + 1, 2))
        return 5.0 * jax.nn.one_hot(following, 6), cache

    tokens, scores = decode.beam_search(step, {}, 1, 1, 8, EOS)
    assert tokens.tolist() == [[[2, 3, 4, EOS, 0, 0, 0, 0]]]
    assert np.isfinite(scores).all()
    # Where the length does not suffice, the beginning is what is found.
    tokens, _ = decode.beam_search(step, {}, 1, 1, 2, EOS)
    assert tokens.tolist() == [[[2, 3]]]


def test_sources_targets_and_logits_share_one_embedding():
    _, params = make(TINY)
    shapes = [x.shape for x in jax.tree.leaves(params)]
    assert shapes.count((5, 16)) == 1
    assert not [shape for shape in shapes if shape == (16, 5)]

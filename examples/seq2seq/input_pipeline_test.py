"""Sums are right, the held-out pairs are never trained on, a step has one batch."""

import input_pipeline
import jax
import numpy as np
import pytest
from configs import default
from input_pipeline import END, PAD, text_of, tokens_of


def sums(batch, *, reverse):
    """The pairs (a, b) of a batch, after looking whether their sums are right."""
    found = []
    for query, answer in zip(*batch, strict=True):
        a, b = map(int, text_of(query).split("+"))
        digits = text_of(answer)
        assert int(digits[::-1] if reverse else digits) == a + b
        found.append((a, b))
    return np.array(found)


@pytest.mark.parametrize("max_digits", [1, 3, 8])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_answers_are_the_sums(tiny, max_digits, reverse):
    tiny.update(max_digits=max_digits, reverse_answer=reverse, any_length=0.5)
    batch = input_pipeline.make_batch(tiny, 3)
    assert batch.query.shape == (32, 2 * max_digits + 2)
    assert batch.answer.shape == (32, max_digits + 2)
    assert batch.query.dtype == batch.answer.dtype == np.int32
    pairs = sums(batch, reverse=reverse)
    assert pairs.min() >= 0
    assert pairs.max() < 10**max_digits
    assert ((batch.answer == END).sum(1) == 1).all()


def test_text_becomes_tokens_and_text_again():
    tokens = tokens_of("12+305", 9)
    assert tokens.tolist() == [4, 5, 2, 6, 3, 8, END, PAD, PAD]
    assert text_of(tokens) == "12+305"
    assert text_of(tokens[:2]) == "12"


def test_text_that_is_too_long_or_no_sum_is_refused():
    with pytest.raises(ValueError, match="room for 4. Raise config.max_digits"):
        tokens_of("99+1", 4)
    with pytest.raises(ValueError, match="'-' in '9-1' is neither a digit nor"):
        tokens_of("9-1", 8)


def test_no_training_batch_has_a_pair_of_the_test_set(tiny):
    tiny.update(max_digits=2, num_eval_examples=1000, batch_size=512)
    tested = sums(input_pipeline.test_batch(tiny), reverse=True)
    assert input_pipeline.is_held_out(*tested.T).all()
    assert tested.min() >= 10  # numbers of two digits
    for step in range(5):
        trained = sums(input_pipeline.make_batch(tiny, step), reverse=True)
        assert not input_pipeline.is_held_out(*trained.T).any()


def test_a_tenth_is_held_out_at_any_size():
    for limit in (1000, 10**8):
        a, b = np.random.default_rng(0).integers(0, limit, (2, 100_000))
        assert 0.095 < input_pipeline.is_held_out(a, b).mean() < 0.105


def test_a_batch_depends_on_seed_and_step_alone(tiny):
    def queries(step, seed=0):
        tiny.seed = seed
        return input_pipeline.make_batch(tiny, step).query.tolist()

    assert queries(4) == queries(4)
    assert queries(4) != queries(5)
    assert queries(4) != queries(4, seed=1)


def test_numbers_of_any_length_are_there_in_the_full_task():
    pairs = sums(input_pipeline.make_batch(default.get_config(), 0), reverse=True)
    share = (pairs < 10**4).mean()  # half of the numbers, half of the counts
    assert 0.2 < share < 0.3


def test_batches_go_on_where_training_was_interrupted(tiny):
    tiny.num_train_steps = 5
    whole = list(input_pipeline.train_batches(tiny))
    rest = list(input_pipeline.train_batches(tiny, 3))
    assert len(whole) == 5
    jax.tree.map(np.testing.assert_array_equal, rest, whole[3:])


def test_grain_gives_the_same_batches(tiny):
    tiny.update(num_train_steps=5, num_workers=0)
    expected = list(input_pipeline.train_batches(tiny, 2))
    tiny.loader = "grain"
    found = list(input_pipeline.train_batches(tiny, 2))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_loader_that_is_unknown_or_not_installed_is_named(tiny, monkeypatch):
    tiny.loader = "torch"
    with pytest.raises(ValueError, match="'torch'; it must be 'numpy' or 'grain'"):
        next(input_pipeline.train_batches(tiny))
    tiny.loader = "grain"
    monkeypatch.setitem(__import__("sys").modules, "grain", None)
    with pytest.raises(ImportError, match="pip install grain"):
        next(input_pipeline.train_batches(tiny))

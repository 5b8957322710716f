"""Learning rate schedules, against their formulas and recorded values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from batiste.training import lr_schedule

STEPS = (0, 1, 9, 10, 19, 20, 25, 26, 30, 31, 60, 61, 80, 99)


def rates(schedule):
    return np.array([float(schedule(step)) for step in STEPS])


def test_constant_with_warmup():
    schedule = lr_schedule.create_constant_learning_rate_schedule(0.5, 10, 2.0)
    expected = 0.5 * np.minimum(1, np.array(STEPS) / 20)
    np.testing.assert_allclose(rates(schedule), expected, rtol=1e-6)
    plain = lr_schedule.create_constant_learning_rate_schedule(0.5, 10)
    assert plain(3) == 0.5


def test_stepped_changes_after_the_epoch():
    schedule = lr_schedule.create_stepped_learning_rate_schedule(
        0.5, 10, [[3, 0.1], [6, 0.01]]
    )
    expected = [0.5 if s <= 30 else 0.05 if s <= 60 else 0.005 for s in STEPS]
    np.testing.assert_allclose(rates(schedule), expected, rtol=1e-6)
    # The order of the changes is that of their epochs.
    other = lr_schedule.create_stepped_learning_rate_schedule(
        0.5, 10, [[6, 0.01], [3, 0.1]]
    )
    np.testing.assert_array_equal(rates(schedule), rates(other))


def test_stepped_without_steps_is_constant():
    schedule = lr_schedule.create_stepped_learning_rate_schedule(0.5, 10, [], 1.0)
    assert float(schedule(5)) == 0.25
    assert float(schedule(99)) == 0.5


def test_cosine_reaches_zero_and_rises_again():
    schedule = lr_schedule.create_cosine_learning_rate_schedule(0.5, 10, 8, 2.0)
    steps = np.array(STEPS)
    expected = 0.25 * (1 + np.cos(np.pi * steps / 80)) * np.minimum(1, steps / 20)
    np.testing.assert_allclose(rates(schedule), expected, rtol=1e-5, atol=1e-7)


MAKERS = [
    lambda n: lr_schedule.create_constant_learning_rate_schedule(0.5, n, 2.0),
    lambda n: lr_schedule.create_stepped_learning_rate_schedule(0.5, n, [[1, 0.1]], 2),
    lambda n: lr_schedule.create_cosine_learning_rate_schedule(0.5, n, 8, 2.0),
]


@pytest.mark.parametrize("make", MAKERS)
def test_schedules_can_be_compiled_and_given_to_optax(make):
    schedule = make(10)
    for step in (3, 25):
        np.testing.assert_allclose(
            jax.jit(schedule)(jnp.int32(step)), schedule(step), rtol=1e-6
        )
    tx = optax.sgd(schedule)
    updates, _ = tx.update({"w": jnp.ones(1)}, tx.init({"w": jnp.ones(1)}))
    np.testing.assert_allclose(updates["w"], -schedule(0))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("steps", [0, -1])
def test_an_epoch_must_have_steps(make, steps):
    with pytest.raises(ValueError, match="steps_per_epoch is"):
        make(steps)


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match=r"\[3\].*pair \[epoch, factor\]"):
        lr_schedule.create_stepped_learning_rate_schedule(0.5, 10, [[3]])
    with pytest.raises(ValueError, match="halfcos_epochs is 0"):
        lr_schedule.create_cosine_learning_rate_schedule(0.5, 10, 0)

import numpy as np
import pytest
from metrics import average_precision, constant_baseline, mean_average_precision


def by_definition(labels, scores):
    """The sum over thresholds of precision times the recall that each adds."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = scores >= threshold
        precision = labels[taken].mean()
        now = labels[taken].sum() / labels.sum()
        total += (now - recall) * precision
        recall = now
    return total


def test_a_small_example():
    labels = np.array([1, 0, 1, 0])
    assert average_precision(labels, np.array([4, 3, 2, 1])) == pytest.approx(5 / 6)
    assert average_precision(labels, np.array([4, 1, 3, 2])) == 1
    assert average_precision(labels, np.array([1, 3, 2, 4])) == pytest.approx(5 / 12)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_the_definition_says(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size=50)
    scores = rng.integers(0, rng.integers(2, 100), size=50)  # with equal ones
    found = average_precision(labels, scores)
    assert found == pytest.approx(by_definition(labels, scores))


def test_a_constant_gets_the_share_of_ones():
    labels = np.array([[1, 0], [0, 0], [0, 1], [1, 1], [0, 0]])
    assert constant_baseline(labels, np.ones((5, 2))) == pytest.approx(0.4)


def test_what_was_not_measured_does_not_count():
    labels = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 0]])
    measured = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1]])
    scores = np.array([[2.0, 0, 0], [1, 0, 9], [0, 0, 0]])
    # The second task has only ones; the third, where measured, only zeros.
    assert mean_average_precision(labels, measured, scores) == 1
    with pytest.raises(ValueError, match="None of the 2 tasks has both a 1 and a 0"):
        mean_average_precision(labels[:, 1:], measured[:, 1:], scores[:, 1:])

"""EarlyStopping: improvement, patience, and the pair that update returns."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste import serialization
from batiste.core.config import config
from batiste.training.early_stopping import EarlyStopping


def stops_after(early_stop, losses):
    """Number of updates until it says stop."""
    for count, loss in enumerate(losses, 1):
        _, early_stop = early_stop.update(loss)
        if early_stop.should_stop:
            return count
    return None


@pytest.mark.parametrize(("patience", "expected"), [(0, 2), (1, 3), (2, 4), (3, 5)])
def test_it_stops_after_patience_updates_without_improvement(patience, expected):
    assert stops_after(EarlyStopping(patience=patience), [1.0] * 9) == expected


def test_an_improvement_must_exceed_min_delta():
    early_stop = EarlyStopping(min_delta=0.5, best_metric=2.0)
    assert not early_stop.update(1.5).has_improved
    has_improved, after = early_stop.update(1.25)
    assert has_improved
    assert after.best_metric == 1.25


def test_update_returns_the_pair_of_the_documentation():
    early_stop = EarlyStopping(patience=1)
    result = early_stop.update(1.0)
    assert isinstance(result, tuple)
    assert len(result) == 2
    assert result[0] is True
    assert type(result[1]) is EarlyStopping
    assert (result[1].best_metric, result[1].has_improved) == (1.0, True)
    assert early_stop.best_metric == math.inf


def test_the_result_can_be_kept_whole():
    early_stop = EarlyStopping(min_delta=1e-3, patience=1)
    for loss in (1.0, 1.0, 1.0):
        early_stop = early_stop.update(loss)
    assert early_stop.should_stop
    assert not early_stop.has_improved
    assert early_stop.patience_count == 2
    assert early_stop.reset() == EarlyStopping(min_delta=1e-3, patience=1)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = early_stop.nonsense


def test_should_stop_stays_set_until_reset():
    _, stopped = EarlyStopping(best_metric=1.0).update(2.0)
    has_improved, improved = stopped.update(0.5)
    assert has_improved
    assert improved.should_stop
    assert improved.patience_count == 0
    assert not improved.reset().should_stop


def test_nan_is_no_improvement():
    has_improved, after = EarlyStopping(patience=1).update(math.nan)
    assert not has_improved
    assert after.patience_count == 1
    assert after.update(3.0).has_improved


@given(st.lists(st.floats(-100, 100), max_size=20), st.integers(0, 4))
def test_it_keeps_the_best_and_counts_since_then(losses, patience):
    early_stop = EarlyStopping(patience=patience)
    for loss in losses:
        _, early_stop = early_stop.update(loss)
    if losses:
        assert early_stop.best_metric == min(losses)
        since = len(losses) - 1 - losses.index(min(losses))
        assert early_stop.patience_count == since


def test_it_is_saved_and_restored():
    early_stop = EarlyStopping(patience=3).update(0.5).early_stop
    data = serialization.to_bytes(early_stop)
    assert serialization.from_bytes(EarlyStopping(), data) == early_stop


def test_the_state_alone_with_the_flag_off():
    with config.temp_flip_flag("early_stopping_pair", False):
        state = EarlyStopping(min_delta=0.1, patience=0).update(1.0)
        assert type(state) is EarlyStopping
        assert state.has_improved
        state = state.update(2.0)
    assert type(state) is EarlyStopping
    assert state.should_stop
    assert not state.has_improved
    assert state.best_metric == 1.0

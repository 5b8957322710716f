"""Defining flags, and reading environment variables."""

import pytest

from batiste.core.config import (
    FlagHolder,
    FlagValueError,
    UnknownFlagError,
    bool_flag,
    config,
    define_bool_state,
    int_flag,
    static_bool_env,
    static_int_env,
)


def test_new_flags(monkeypatch):
    holder = bool_flag("test_bool", default=False, help="A test.")
    assert holder.value is False is config.test_bool
    config.update(holder, True)
    assert holder.value is True is config.flax_test_bool
    assert holder.name == "test_bool"
    assert holder.__doc__ == holder.help == "A test."
    with pytest.raises(TypeError, match=r'"test_bool" has no truth value.*`\.value`'):
        bool(holder)
    with pytest.raises(RuntimeError, match=r'Flag "test_bool" is already defined'):
        bool_flag("flax_test_bool", default=False, help="")
    with pytest.raises(RuntimeError, match=r'Flag "update" is already defined'):
        bool_flag("update", default=False, help="")

    monkeypatch.setenv("FLAX_TEST_STATE", "on")
    assert define_bool_state("flax_test_state", False, "help").value is True
    monkeypatch.setenv("BATISTE_TEST_INT", "12")
    number = int_flag("test_int", default=None, help="")
    assert number.value == 12
    config.update("test_int", None)
    assert number.value is None
    with pytest.raises(FlagValueError, match="an integer or None, not True"):
        config.update("test_int", True)
    assert int_flag("test_none", default=None, help="").value is None
    monkeypatch.setenv("FLAX_TEST_BAD", "bad")
    with pytest.raises(ValueError, match="FLAX_TEST_BAD.*no integer"):
        int_flag("test_bad", default=1, help="")
    with pytest.raises(ValueError, match="FLAX_TEST_BAD.*neither true"):
        bool_flag("test_bad", default=True, help="")
    with pytest.raises(UnknownFlagError):
        _ = FlagHolder("test_bad", "").value


@pytest.mark.parametrize("text", ["y", "YES", "t", "True", "on", "1"])
def test_true_in_the_environment(monkeypatch, text):
    monkeypatch.setenv("SOME_FLAG", text)
    assert static_bool_env("SOME_FLAG", False) is True


@pytest.mark.parametrize("text", ["n", "NO", "f", "False", "off", "0"])
def test_false_in_the_environment(monkeypatch, text):
    monkeypatch.setenv("SOME_FLAG", text)
    assert static_bool_env("SOME_FLAG", True) is False


def test_environment_helpers(monkeypatch):
    monkeypatch.delenv("SOME_FLAG", raising=False)
    assert static_bool_env("SOME_FLAG", True) is True
    assert static_int_env("SOME_FLAG", None) is None
    monkeypatch.setenv("SOME_FLAG", "-3")
    assert static_int_env("SOME_FLAG", None) == -3
    with pytest.raises(ValueError, match="SOME_FLAG has the value '-3'"):
        static_bool_env("SOME_FLAG", True)


def test_of_two_variables_the_source_is_the_one_that_counts(monkeypatch):
    monkeypatch.setenv("FLAX_SOURCE_OF_TWO", "1")
    monkeypatch.setenv("BATISTE_SOURCE_OF_TWO", "0")
    name = "source_of_two"
    try:
        assert bool_flag(name, default=True, help="").value is False
        assert config.sources()[name] == "BATISTE_SOURCE_OF_TWO"
    finally:
        for table in (config._globals, config._types, config._flips, config._first):
            table.pop(name, None)
        config.__dict__.pop(name, None)

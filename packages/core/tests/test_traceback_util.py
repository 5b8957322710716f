"""Which frames a user sees."""

import os
import traceback

import jax
import jax.numpy as jnp
import pytest

from batiste.core import traceback_util
from batiste.core.config import config
from batiste.core.frozen_dict import FrozenDict

HERE = os.path.basename(__file__)

# A library of three functions in a file that counts as internal: `outer` and `middle`
# are boundaries; `middle` calls the user's function back.
SOURCE = """
import dataclasses
from batiste.core.traceback_util import api_boundary

@api_boundary
def outer(fun, *args):
    return middle(fun, *args)

@api_boundary
def middle(fun, *args):
    return helper(fun, *args)

def helper(fun, *args):
    return fun(*args)

@api_boundary
def fail(cause):
    try:
        raise cause
    except Exception as error:
        raise LookupError('internal', 3) from error
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    path = tmp_path / "library.py"
    names = {"__name__": "library"}
    exec(compile(SOURCE, str(path), "exec"), names)
    monkeypatch.setattr(traceback_util, "_excluded", traceback_util._excluded)
    traceback_util.register_exclusion(str(path))
    return names


def frames(error):
    return [
        (os.path.basename(f.filename), f.name)
        for f in traceback.extract_tb(error.__traceback__)
    ]


def user_function(x):
    raise KeyError(x)


def test_only_the_users_frames_stay(library):
    error = KeyError()
    with pytest.raises(KeyError) as caught:
        library["outer"](lambda x: library["outer"](user_function, x), "key")
    error = caught.value
    assert type(error) is KeyError
    assert error.args == ("key",)
    assert frames(error) == [
        (HERE, "test_only_the_users_frames_stay"),
        (HERE, "<lambda>"),
        (HERE, "user_function"),
    ]
    lines = [entry.line for entry in traceback.extract_tb(error.__traceback__)]
    assert lines[-1] == "raise KeyError(x)"


def test_an_internal_error_ends_at_the_users_line(library):
    cause = OSError("disk")
    with pytest.raises(LookupError) as caught:
        library["outer"](library["fail"], cause)
    error = caught.value
    assert error.args == ("internal", 3)
    assert error.__cause__ is cause
    assert frames(error) == [(HERE, "test_an_internal_error_ends_at_the_users_line")]


def test_the_exception_is_the_same_object(library):
    error = ValueError("mine")
    error.add_note("note")

    def fun():
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        library["outer"](fun)
    assert caught.value is error
    assert error.__notes__ == ["note"]
    assert error.__cause__ is None
    assert error.__context__ is None


def test_frames_can_be_shown(library):
    traceback_util.show_flax_in_tracebacks()
    try:
        assert config.filter_frames is False
        with pytest.raises(KeyError) as caught:
            library["outer"](user_function, 1)
    finally:
        traceback_util.hide_batiste_in_tracebacks()
    names = [name for _, name in frames(caught.value)]
    assert names == [
        "test_frames_can_be_shown",
        "inner",
        "outer",
        "inner",
        "middle",
        "helper",
        "user_function",
    ]
    assert config.filter_frames is True
    assert (
        traceback_util.show_batiste_in_tracebacks
        is traceback_util.show_flax_in_tracebacks
    )


def test_jax_transforms_in_between(library):
    def fun(x):
        return jnp.dot(x, jnp.ones(5))

    def program(x):
        return library["outer"](jax.jit(fun), x)

    with pytest.raises(TypeError) as caught:
        jax.jit(program)(jnp.ones(3))
    names = [name for file, name in frames(caught.value) if file == HERE]
    assert names == ["test_jax_transforms_in_between", "program", "fun"]
    assert not any(file == "library.py" for file, _ in frames(caught.value))


def test_generated_constructors_are_left_out(library):
    names = dict(library)
    exec(
        compile(
            "@dataclasses.dataclass\n"
            "class Base:\n"
            "    def __post_init__(self):\n"
            "        raise RuntimeError('bad field')\n"
            "make = api_boundary(lambda cls: cls(x=1))",
            library["helper"].__code__.co_filename,
            "exec",
        ),
        names,
    )

    import dataclasses

    @dataclasses.dataclass
    class User(names["Base"]):
        x: int

    with pytest.raises(RuntimeError) as caught:
        names["make"](User)
    assert frames(caught.value) == [(HERE, "test_generated_constructors_are_left_out")]


def test_values_and_names_pass_through(library):
    assert library["outer"](lambda a, b: (a, b), 1, 2) == (1, 2)
    assert library["outer"].__name__ == "outer"
    assert library["outer"].__wrapped__ is not None


def test_exits_are_not_errors(library):
    def leave():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        library["outer"](leave)
    assert ("library.py", "helper") in frames(caught.value)


def test_exclusions(monkeypatch):
    monkeypatch.setattr(traceback_util, "_excluded", ())
    folder = os.path.join(os.sep, "some", "lib")
    traceback_util.register_exclusion(folder)
    traceback_util.register_exclusion(folder)
    assert traceback_util._excluded == (os.path.join(folder, ""),)
    code = compile("1", os.path.join(os.sep, "some", "lib_user", "x.py"), "eval")
    assert not traceback_util._is_internal(code)
    code = compile("1", os.path.join(folder, "x.py"), "eval")
    assert traceback_util._is_internal(code)


def test_core_itself_is_internal():
    assert traceback_util._is_internal(FrozenDict.pop.__code__)

import pickle

import pytest

from batiste.serialization import SerializationError, UnserializableTypeError
from batiste.serialization.errors import (
    join_path,
    listed,
    nearest,
    printable,
    shortened,
)


def test_message_ends_with_the_place():
    assert str(SerializationError("Bad.")) == "Bad."
    assert str(SerializationError("Bad.", "")) == "Bad. (at the root)"
    assert str(SerializationError("Bad.", "a/b")) == "Bad. (at a/b)"
    assert str(SerializationError("Bad.", "a", 3)) == "Bad. (at a, byte 3)"
    assert str(SerializationError("Bad.", None, 0)) == "Bad. (byte 0)"


@pytest.mark.parametrize("kind", [SerializationError, UnserializableTypeError])
def test_pickles_with_what_was_added_later(kind):
    error = kind("Bad.")
    error.path, error.offset = "a/b", 7
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "Bad. (at a/b, byte 7)"


def test_families():
    assert issubclass(SerializationError, ValueError)
    assert issubclass(UnserializableTypeError, (SerializationError, TypeError))


def test_long_names_and_lists_are_cut():
    assert join_path(["a", 1, b"c"]) == "a/1/b'c'"
    assert len(join_path(["x" * 10_000])) < 300
    assert listed(["a", 1]) == "'a', 1"
    assert listed(range(50)).endswith("19 and 30 more")


def test_nearest_names():
    assert nearest("kernel", ["kernal", "bias", 3]) == (
        "; the nearest to 'kernel': 'kernal'"
    )
    assert nearest("kernel", ["kernel", "bias"]) == ""


def test_what_steers_a_terminal_is_escaped():
    names = ["\x1b[2J", "a\nb", "right\N{RIGHT-TO-LEFT OVERRIDE}", "\x9b", "\ud800"]
    for name in names:
        for text in (
            join_path([name]),
            listed([name]),
            nearest(name, [name + "x"]),
            str(SerializationError(f"Bad {name}.", name)),
        ):
            assert text.isprintable()
    assert printable("größe") == "größe"
    assert printable("\x1b") == "\\x1b"


def test_messages_stay_short():
    long = "\x1b" * 100_000
    assert len(join_path([long] * 1000)) < 500
    assert len(listed([long] * 1000)) < 20_000
    assert len(nearest(long, [long])) < 3000
    assert len(str(SerializationError(long, long))) < 10_000
    assert shortened("a" * 10 + "b" * 10, 6) == "aaa…bbb"

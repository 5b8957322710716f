import math

import pytest

from batiste.serialization import SerializationError
from batiste.serialization.flat import (
    flattened,
    from_json,
    names_under,
    nested,
    plain_value,
    to_json,
)


def test_trees_there_and_back():
    tree = {"a": {"b": 1, "c": {"": 2}}, "d": {}, "e": ()}
    flat = {"/".join(path): leaf for path, leaf in flattened(tree, "/")}
    assert flat == {"a/b": 1, "a/c/": 2, "d": {}, "e": ()}
    assert nested(flat, "/") == tree
    assert nested({"a/b": 1, "a/c/d": 2}, "/", 1) == {"b": 1, "c": {"d": 2}}
    assert nested({"a": 1}, "/", 1) == 1
    assert nested({}, "/") == {}


def test_lists_are_named_by_position():
    assert dict(flattened([1, [2]], ".")) == {("0",): 1, ("1", "0"): 2}


def test_one_dict_without_branches():
    assert dict(flattened({"a.b": 1, "c": {}}, None)) == {("a.b",): 1, ("c",): {}}
    with pytest.raises(SerializationError, match="and this is a list in it") as info:
        list(flattened({"a": [1]}, None))
    assert info.value.path == "a"


def test_names_that_hold_the_separator():
    with pytest.raises(SerializationError, match="holds '/', which joins") as info:
        list(flattened({"a": {"b/c": 1}}, "/"))
    assert info.value.path == "a/b/c"


def test_leaves_alone():
    with pytest.raises(SerializationError, match="this is a int. Put it into a dict"):
        list(flattened(3, "."))


def test_depth():
    tree: dict = {}
    tree["a"] = tree
    with pytest.raises(SerializationError, match="or contains itself"):
        list(flattened(tree, "."))
    with pytest.raises(SerializationError, match="nested deeper than 1000 levels"):
        nested({"." * 1000: 1}, ".")
    assert nested({"." * 999: 1}, ".")


@pytest.mark.parametrize("names", [("a", "a.b"), ("a.b", "a"), ("a.b.c", "a.b")])
def test_leaves_where_branches_are(names):
    with pytest.raises(SerializationError, match="an array and the branch") as info:
        nested(dict.fromkeys(names, 5), ".")
    assert info.value.path == names[1]


def test_names_under_a_path():
    names = ["a.b", "a.c.d", "ab", "a"]
    assert names_under(names, (), ".") == names
    assert names_under(names, ("a",), ".") == ["a.b", "a.c.d", "a"]
    assert names_under(names, ("a", "c"), ".") == ["a.c.d"]
    assert names_under(names, ("a.b",), None) == ["a.b"]
    for path, separator in ((("b",), "."), (("a", "b"), None), (("a.",), ".")):
        with pytest.raises(SerializationError, match="There is nothing at") as info:
            names_under(names, path, separator)
        assert info.value.path == ""


VALUES = {"a": 7, "b": -0.0, "c": "é\n", "d": None, "e": True, "f": {}, "g": 2**64 - 1}


def test_values_there_and_back():
    found = from_json(to_json(VALUES))
    assert found == VALUES
    assert list(map(type, found.values())) == list(map(type, VALUES.values()))
    assert math.copysign(1, found["b"]) == -1
    special = from_json(to_json({"n": math.nan, "i": -math.inf}))
    assert math.isnan(special["n"])
    assert special["i"] == -math.inf


@pytest.mark.parametrize(
    "text",
    ["", "[]", "1", '{"a":[]}', '{"a":{"b":1}}', "[" * 10**5, '{"a":' + "9" * 5000],
)
def test_what_was_not_written_here(text):
    with pytest.raises(ValueError, match="not an object of numbers, strings and null"):
        from_json(text)


def test_plain_values():
    for value in VALUES.values():
        assert plain_value(value) == value
    assert plain_value([]) == {}
    with pytest.raises(SerializationError, match="This int has 65 bits"):
        plain_value(2**64)
    for value in (b"x", 1j, {1}, object()):
        with pytest.raises(TypeError, match="has no place in this format"):
            plain_value(value)

import inspect
import pickle

import numpy as np
import pytest

from batiste.core import errors


def test_every_error_derives_from_the_base():
    assert errors.BatisteError is errors.FlaxError
    found = inspect.getmembers(errors, inspect.isclass)
    assert found
    assert all(issubclass(cls, errors.FlaxError) for _, cls in found)


def test_the_base_takes_a_text(check_error):
    check_error(errors.FlaxError("text"), ["text"])


def test_a_subclass_with_other_parameters_can_be_pickled_and_copied(check_error):
    check_error(errors.ScopeParamNotFoundError("kernel", "/a"), ['"kernel"'])


def test_attributes_that_were_set_later_are_pickled():
    error = errors.FlaxError("text")
    error.code = 3
    assert pickle.loads(pickle.dumps(error)).code == 3


@pytest.mark.parametrize(
    ("path", "text"),
    [((), "/"), (("a", "b"), "/a/b"), (["a", 0], "/a/0"), ("/a/b", "/a/b")],
)
def test_path_text(path, text):
    assert errors.path_text(path) == text


def test_arrays_are_described_by_dtype_and_shape():
    assert errors.short_repr(np.zeros((3, 2), "float32")) == "float32[3,2]"
    assert errors.short_repr(np.float64) == repr(np.float64)


def test_other_values_are_described_in_one_short_line():
    assert errors.short_repr("a\nb") == "'a\\nb'"
    assert errors.short_repr("x" * 500).startswith("'xxx")
    assert len(errors.short_repr("x" * 500)) == 120
    assert len(errors.short_repr("x" * 500, limit=20)) == 20


def test_a_value_whose_repr_fails_is_described_all_the_same():
    class Rude:
        def __repr__(self):
            raise RuntimeError

    assert "Rude object" in errors.short_repr(Rude())


def test_quoted_counts_what_it_leaves_out():
    assert errors.quoted([]) == ""
    assert errors.quoted(["a", 1]) == '"a", "1"'
    assert errors.quoted("abcd", limit=2) == '"a", "b" and 2 more'


def test_nearest_names():
    assert errors.nearest_names("kernal", ["bias", "kernel"]) == ["kernel"]
    assert errors.nearest_names("zzz", ["bias"]) == []


def test_a_hint_says_what_there_is_and_what_was_meant():
    assert errors.name_hint("zzz", ["bias"]) == ' It has "bias".'
    assert errors.name_hint(1, [2, 3]) == ' It has "2", "3".'
    assert errors.name_hint("zzz", []) == ""
    many = errors.name_hint("zz", [f"layer{i}" for i in range(20)])
    assert many.endswith('"layer7" and 12 more.')
    near = errors.name_hint("kernal", {"kernel": 1}, owner="The scope")
    assert near == ' The scope has "kernel"; did you mean "kernel"?'


def test_only_mappings_have_collection_names():
    assert errors.collection_names({"params": {}, 1: {}}) == ["params", "1"]
    assert errors.collection_names(["params"]) == []

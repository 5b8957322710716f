"""Every error: its parameters, its text, and that it survives pickling and copying."""

import copy
import inspect
import pickle

import jax
import numpy as np
import pytest

from batiste.core import errors

# For each error: the positional arguments of the specification, and words that the
# message must hold: what, where, and the fix.
CASES = {
    "FlaxError": (("text",), ["text"]),
    "LazyInitError": (
        (jax.ShapeDtypeStruct((8, 4), np.float32),),
        ["float32[8,4]", "pass a real array"],
    ),
    "InvalidRngError": (("no key",), ["no key"]),
    "ApplyScopeInvalidVariablesTypeError": ((), ["dictionary of collections"]),
    "ApplyScopeInvalidVariablesStructureError": (
        ({"params": {"params": {}}},),
        ['inside the collection "params"', "Pass"],
    ),
    "ScopeParamNotFoundError": (
        ("kernel", "/a/b"),
        ['"kernel"', '"/a/b"', "mutable"],
    ),
    "ScopeCollectionNotFound": (
        ("params", "kernel", "/a/b"),
        ['"params"', '"kernel"', '"/a/b"', "Pass the collection"],
    ),
    "ScopeParamShapeError": (
        ("kernel", "/a/b", (1, 8), (5, 8)),
        ['"kernel"', '"/a/b"', "(1, 8)", "(5, 8)", "initialize it again"],
    ),
    "ScopeVariableNotFoundError": (
        ("mean", "stats", "/a/b"),
        ['"mean"', '"stats"', '"/a/b"', "mutable=['stats']"],
    ),
    "InvalidFilterError": ((3,), ["3 (of type int)", "DenyList"]),
    "InvalidScopeError": (("/a/b",), ['"/a/b"', "is closed", "`bind`"]),
    "ModifyScopeVariableError": (
        ("stats", "mean", "/a/b"),
        ['"mean"', '"/a/b"', '"stats"', "mutable=['stats']"],
    ),
    "ImmutableVariableError": (("read-only",), ["read-only"]),
    "JaxTransformError": ((), ["cannot be mixed", "nn.jit for jax.jit"]),
    "AxisMetadataError": (("Bad names.",), ["Bad names."]),
    "PartitioningUnspecifiedError": (
        ("target",),
        ["'target'", "metadata_params={'partition_name'"],
    ),
    "CursorFindError": ((), ["No object", "Loosen"]),
    "TraverseTreeError": ((None, None), ["neither was given"]),
}


def _classes():
    found = inspect.getmembers(errors, inspect.isclass)
    return {cls.__name__: cls for _, cls in found}


def test_every_error_has_a_case():
    assert set(_classes()) == set(CASES)
    assert errors.BatisteError is errors.FlaxError
    assert all(issubclass(cls, errors.FlaxError) for cls in _classes().values())


@pytest.mark.parametrize("name", CASES)
def test_error(name):
    args, words = CASES[name]
    error = getattr(errors, name)(*args)
    for word in words:
        assert word in str(error)
    assert error.args == (str(error),)
    error.add_note("a note")
    for again in (
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(again) is type(error)
        assert (again.args, again.__dict__) == (error.args, error.__dict__)
        assert str(again) == str(error)
    with pytest.raises(errors.FlaxError):
        raise error


def test_errors_tell_programs_what_they_tell_people():
    shape = errors.ScopeParamShapeError("kernel", ("a", "b"), (1,), (2,))
    assert (shape.param_name, shape.scope_path) == ("kernel", "/a/b")
    assert (shape.value_shape, shape.init_shape) == ((1,), (2,))
    lost = errors.ScopeCollectionNotFound("params", "kernel", "/a")
    assert (lost.col_name, lost.var_name, lost.scope_path) == ("params", "kernel", "/a")


def test_optional_facts_are_in_the_text():
    def text(name, *args, **kwargs):
        return str(getattr(errors, name)(*args, **kwargs))

    found = text("ScopeParamNotFoundError", "kernal", "/a", available={"kernel": 1})
    assert 'It has "kernel"; did you mean "kernel"?' in found
    found = text("ScopeCollectionNotFound", "params", "w", "/", available=["parms"])
    assert 'What was passed has "parms"; did you mean "parms"?' in found
    found = text("ScopeVariableNotFoundError", "maen", "s", "/", available=["mean"])
    assert 'did you mean "mean"?' in found
    assert 'variables "a", "b"' in text("LazyInitError", 3, names=["a", "b"])
    assert "Got a list." in text("ApplyScopeInvalidVariablesTypeError", found=[])
    assert 'scope "/a/b"' in text("JaxTransformError", scope_path=("a", "b"))
    assert "both were given" in text("TraverseTreeError", abs, abs)
    assert "More than one object" in text("CursorFindError", 1, 2)


def test_values_are_described_in_short():
    class Rude:
        def __repr__(self):
            raise RuntimeError

    assert "Rude object" in str(errors.InvalidFilterError(Rude()))
    assert len(str(errors.InvalidFilterError({"x" * 10_000: 1}))) < 400


def test_errors_pickle_whatever_they_were_made_from():
    traced = []

    def trace(x):
        traced.append(errors.LazyInitError(x))
        return x

    jax.jit(trace)(1.0)
    assert "float32[]" in str(pickle.loads(pickle.dumps(traced[0])))


def test_name_helpers():
    assert errors.nearest_names("kernal", ["bias", "kernel"]) == ["kernel"]
    assert errors.nearest_names("zzz", ["bias"]) == []
    assert errors.name_hint("zzz", ["bias"]) == ' It has "bias".'
    assert errors.name_hint(1, [2, 3]) == ' It has "2", "3".'
    many = errors.name_hint("zz", [f"layer{i}" for i in range(20)])
    assert many.endswith('"layer7" and 12 more.')

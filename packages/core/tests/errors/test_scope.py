import inspect
import pickle

import jax
import numpy as np
import pytest

from batiste.core import errors
from batiste.core.errors import scope

# For each error: the positional arguments of the specification, and words that the
# message must hold: what, where, and the fix.
CASES = {
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
}


def test_every_error_of_scopes_has_a_case():
    found = inspect.getmembers(scope, inspect.isclass)
    assert {name for name, cls in found if cls.__module__ == scope.__name__} == set(
        CASES
    )


@pytest.mark.parametrize("name", CASES)
def test_each_error_says_what_to_do_and_survives_pickling(name, check_error):
    args, words = CASES[name]
    check_error(getattr(errors, name)(*args), words)


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
    closed = text("JaxTransformError", scope_path=("a", "net"), closed_over=True)
    assert (
        "the function uses `net` of the enclosing module; use the module that it gets "
        'as its first argument (scope "/a/net")'
    ) in closed
    root = text("JaxTransformError", scope_path=(), closed_over=True)
    assert "the function uses the enclosing module; use the module" in root
    assert 'scope "/a/b"' in text("JaxTransformError", scope_path=("a", "b"))


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

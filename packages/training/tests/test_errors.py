"""Every error of batiste.training: its parameters, its text, pickling and copying."""

import copy
import inspect
import pickle

import pytest

from batiste.core.errors import FlaxError
from batiste.training import errors

# For each error: the positional arguments of the specification, and words that the
# message must hold: what, where, and the fix.
CASES = {
    "InvalidCheckpointError": (
        ("dir/ckpt_1", 1),
        ["step 1", '"dir/ckpt_1"', "overwrite=True"],
    ),
    "InvalidDestinationError": (
        ("dir/ckpt_1", 1),
        ["step 1", '"dir/ckpt_1"', "overwrite=True"],
    ),
    "MPACheckpointingRequiredError": (
        ("dir/ckpt_1", 1),
        ["step 1", '"dir/ckpt_1"', "GlobalAsyncCheckpointManager"],
    ),
    "MPARestoreTargetRequiredError": (
        ("dir/ckpt_1", 1),
        ["step 1", '"dir/ckpt_1"', "`target`", "allow_partial_mpa_restoration"],
    ),
    "MPARestoreDataCorruptedError": (
        (1, "dir/ckpt_1"),
        ["step 1", '"dir/ckpt_1"', "commit_success.txt", "earlier step"],
    ),
    "MPARestoreTypeNotMatchError": (
        (1, "dir/ckpt_1"),
        ["step 1", '"dir/ckpt_1"', "jax.Array"],
    ),
    "AlreadyExistsError": (("dir/ckpt_1",), ['"dir/ckpt_1"', "overwrite=True"]),
    "NotACheckpointError": (
        ("dir/ckpt_1",),
        ['"dir/ckpt_1"', "no checkpoint", "Move it away", "`prefix`"],
    ),
    "DamagedCheckpointError": (
        ("dir/ckpt_1", "no metadata"),
        ['"dir/ckpt_1"', "damaged", "no metadata", "another step"],
    ),
    "ExportError": (("It has no shape.",), ["It has no shape."]),
    "ExportedCallError": (("It takes a.",), ["It takes a."]),
    "ExportedFileError": (("m.zip", "It is empty."), ['"m.zip"', "It is empty."]),
    "TorchWeightsError": (("The source is none.",), ["The source is none."]),
    "TorchRuleError": (
        ("{'fc': 'head'}", "names no tensor"),
        ["The rule {'fc': 'head'} names no tensor."],
    ),
    "AmbiguousTorchWeightsError": (
        ("a can be x or y.", {"a": "x"}),
        ["a can be x or y.", "rules={'a': 'x'}"],
    ),
    "UnmatchedTorchWeightsError": (
        ({"params/b": (3,)}, {"fc.weight": (2, 3)}, "A hint."),
        ["params/b (3,)", "fc.weight (2, 3)", "A hint.", "None}", "strict=False"],
    ),
    "TorchOutputsDifferError": (("They differ.", "norm", 0.5), ["They differ."]),
    "TracedCheckpointError": (
        ("params/w", "JitTracer(float32[2])"),
        ['"params/w"', "JitTracer(float32[2])", "traces", "io_callback"],
    ),
}


def _classes():
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in found if cls.__module__ == errors.__name__}


def test_every_error_has_a_case():
    assert set(_classes()) == set(CASES)
    assert all(issubclass(cls, FlaxError) for cls in _classes().values())


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
    with pytest.raises(FlaxError):
        raise error


def test_optional_facts_are_in_the_text():
    error = errors.MPARestoreTargetRequiredError("p", 1, "w")
    assert 'array at "w"' in str(error)


def test_of_many_names_some_are_in_the_text():
    missing = {f"params/w{i}": (i,) for i in range(20)}
    error = errors.UnmatchedTorchWeightsError(missing, {})
    assert "params/w11 (11,) and 8 more." in str(error)
    assert "Left over" not in str(error)
    assert error.missing == missing

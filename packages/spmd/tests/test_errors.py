import copy
import pickle

import pytest

from batiste.core.errors import FlaxError
from batiste.spmd import errors

EXAMPLES = [
    errors.PartitioningError("Bad names."),
    errors.UnknownAxisError("modle", ("data", "model"), "mesh"),
    errors.RankMismatchError(("a", None), (3,)),
    errors.DuplicateAxisError(("a",), ("a", "a")),
    errors.AxisRulesError("Bad rule."),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_each_error_is_a_flax_error_and_a_value_error(error):
    assert isinstance(error, FlaxError)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_a_path_is_put_in_front_of_the_message(error):
    located = error.at("Dense_0/kernel")
    assert type(located) is type(error)
    assert str(located) == f'In "Dense_0/kernel": {error}'
    assert located.path == "Dense_0/kernel"
    assert error.path is None


def test_the_inner_path_is_kept():
    error = errors.AxisRulesError("Bad.").at("inner")
    assert error.at("outer") is error


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_can_be_copied_and_pickled(error):
    located = error.at("a/b")
    for other in (copy.copy(located), pickle.loads(pickle.dumps(located))):
        assert type(other) is type(error)
        assert str(other) == str(located)
        assert vars(other) == vars(located)


def test_an_unknown_axis_tells_the_nearest_names():
    error = errors.UnknownAxisError("modle", ("data", "model", "expert"), "mesh")
    assert error.axis == "modle"
    assert error.nearest == ("model",)
    assert str(error) == (
        "Axis 'modle' is not among the axes of the mesh: 'data', 'model', 'expert'. "
        "Nearest names: 'model'."
    )


def test_an_unknown_axis_with_nothing_near_gives_no_hint():
    error = errors.UnknownAxisError("zzz", (), "logical axis rules")
    assert error.nearest == ()
    assert str(error) == (
        "Axis 'zzz' is not among the axes of the logical axis rules: (none)."
    )


def test_a_rank_mismatch_tells_names_and_shape():
    error = errors.RankMismatchError(("a", None), (3,))
    assert (error.names, error.shape) == (("a", None), (3,))
    assert "2 axis names, ('a', None), for a value of rank 1 with shape (3,)" in str(
        error
    )
    assert "metadata_params={'partition_name': ...}" in str(error)

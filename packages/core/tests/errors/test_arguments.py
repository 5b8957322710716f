import pytest

from batiste.core import errors


def test_a_wrong_argument_is_of_a_wrong_type_and_of_a_wrong_value(check_error):
    error = errors.InvalidArgumentError("text", where="Dense", argument="features")
    assert (error.where, error.argument) == ("Dense", "features")
    check_error(error, ["text"])


@pytest.mark.parametrize("kind", [TypeError, ValueError, errors.FlaxError])
def test_it_is_caught_as_either(kind):
    with pytest.raises(kind):
        raise errors.InvalidArgumentError("text")

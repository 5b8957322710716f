"""What every error must do, whatever it is about."""

import copy
import pickle

import pytest

from batiste.core import errors


@pytest.fixture
def check_error():
    """Checks the text of an error, and that it survives pickling and copying."""

    def check(error, words):
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

    return check

"""An error that programs name, though only NNX raises it."""

import pytest


def test_it_is_an_error_of_flax(flax):
    error = flax.errors.TraceContextError("Cannot change it here.")
    assert isinstance(error, flax.errors.FlaxError)
    with pytest.raises(flax.errors.TraceContextError, match="Cannot change it here"):
        raise error

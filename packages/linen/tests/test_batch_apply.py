"""BatchApply and the functions that it is made of."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.linen.batch_apply import (
    BatchApply,
    arbitrary_mergeable_leaf,
    merge_leading_dims,
    ndim_at_least,
    split_leading_dim,
)

X = jnp.arange(24.0).reshape(2, 3, 4)


def test_merges_and_splits():
    def f(x, small, *, key):
        assert x.shape == (6, 4)
        assert small.shape == (3,)
        assert key["y"].shape == (6,)
        return {"x": x + small.sum(), "row": x.sum(1)}

    out = BatchApply(f)(X, jnp.ones(3), key={"y": np.ones((2, 3))})
    assert np.array_equal(out["x"], X + 3)
    assert out["row"].shape == (2, 3)


@pytest.mark.parametrize("num_dims", [1, 2, 3])
def test_num_dims(num_dims):
    assert np.array_equal(BatchApply(lambda x: x * 2, num_dims)(X), X * 2)


def test_results_that_are_no_arrays():
    assert BatchApply(lambda x: (None, 3, "s"))(X) == (None, 3, "s")


def test_modules():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return BatchApply(nn.Dense(5))(x)

    y, variables = Model().init_with_output(jax.random.key(0), X)
    assert y.shape == (2, 3, 5)
    assert set(variables["params"]) == {"Dense_0"}


def test_under_jit():
    assert jax.jit(BatchApply(lambda x: x.sum(1)))(X).shape == (2, 3)


def test_errors():
    with pytest.raises(ValueError, match="at least one input with ndim >= 2.*shapes"):
        BatchApply(lambda x: x)(jnp.ones(3))
    with pytest.raises(ValueError, match=r"shape \(\), but .*size 6 \(\(2, 3\) merged"):
        BatchApply(lambda x: x.sum())(X)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        BatchApply(lambda x: x, num_dims=0)


def test_parts():
    assert ndim_at_least(X, 3)
    assert not ndim_at_least(1.0, 1)
    assert arbitrary_mergeable_leaf(2, (1.0,), {"a": X}) is X
    assert arbitrary_mergeable_leaf(4, (X,), {}) is None
    assert merge_leading_dims(3, 1) == 3
    assert merge_leading_dims(X, 4) is X
    assert split_leading_dim(merge_leading_dims(X, 2), (2, 3)).shape == X.shape

"""Tests of batiste.linen.transforms.variables."""

import functools

import jax
import numpy as np
from jax import numpy as jnp

import batiste.linen as nn

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


def triangle(variables):
    return jax.tree.map(lambda v: jnp.triu(v) if v.ndim == 2 else v, variables)


def transpose(variables):
    return jax.tree.map(lambda v: v.T, variables)


def test_map_variables_on_the_way_in():
    class Causal(nn.Module):
        """The example of the specification."""

        features: int

        def mask(self, variables):
            return variables if self.is_initializing() else triangle(variables)

        def setup(self):
            layer = nn.map_variables(
                nn.Dense, "params", self.mask, init=self.is_initializing()
            )
            self.dense = layer(features=self.features, use_bias=False)

        def __call__(self, x):
            return self.dense(x)

    variables = Causal(2).init(KEY, X)
    y = Causal(2).apply(variables, X)
    kernel = variables["params"]["dense"]["kernel"]
    assert kernel[1, 0] != 0
    np.testing.assert_allclose(y, X @ jnp.triu(kernel), rtol=1e-5)


def test_map_variables_both_ways():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, x):
            encode = nn.Dense(5, use_bias=False)
            decode = nn.map_variables(
                lambda mdl, z: mdl.clone(features=2, parent=mdl.scope)(z),
                "params", transpose, transpose, mutable=True)  # fmt: skip
            return decode(encode, encode(x))

    y, variables = Tied().init_with_output(KEY, X)
    kernel = variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(y, X @ kernel @ kernel.T, rtol=1e-5)


def test_map_variables_of_several_modules():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            stack = nn.Sequential([nn.Dense(2), nn.Dense(2)])
            run = nn.map_variables(
                lambda mdl, x: mdl(x), "params",
                functools.partial(jax.tree.map, jnp.zeros_like),
                init=self.is_initializing())  # fmt: skip
            return run(stack, x)

    y, variables = Net().init_with_output(KEY, X)
    assert sorted(variables["params"]) == ["Dense_0", "Dense_1"]
    ones = jax.tree.map(jnp.ones_like, variables)
    assert not y.any()
    assert not Net().apply(ones, X).any()


def test_add_metadata_axis():
    init = nn.with_partitioning(nn.initializers.ones, ("in", "out"))
    add = functools.partial(nn.add_metadata_axis, metadata_params={
        nn.PARTITION_NAME: "layers"})  # fmt: skip
    for axis, names in ((0, ("layers", "in", "out")), (2, ("in", "out", "layers"))):
        layer = add(nn.Dense, variable_axes={"params": axis})(2, kernel_init=init)
        variables = layer.init(KEY, X)
        assert variables["params"]["kernel"].names == names
        assert layer.apply(variables, X).shape == (3, 2)
    assert add(nn.Dense, variable_axes={"params": None}) is nn.Dense


def test_fold_rngs():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            before = self.make_rng("noise")
            inside = nn.fold_rngs(lambda mdl, x: mdl.make_rng("noise"))(self, x)
            return before, inside, self.make_rng("noise")

    keys = Net().apply({}, X, rngs={"noise": KEY})
    assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == 3
    assert nn.fold_rngs(nn.Dense)(4).init(KEY, X)["params"]["kernel"].shape == (2, 4)

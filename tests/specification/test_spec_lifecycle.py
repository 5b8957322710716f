"""The programs of the note "The Flax Module lifecycle", and of the front page."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax import random

from batiste import linen as nn
from batiste.core import errors, struct
from batiste.core.config import config


class MLP(nn.Module):
    hidden_size: int
    out_size: int

    def setup(self):
        self.hidden = nn.Dense(self.hidden_size)
        self.out = nn.Dense(self.out_size)

    def __call__(self, x):
        a = self.hidden(x)
        h = nn.relu(a)
        return self.out(h)


class CompactMLP(nn.Module):
    hidden_size: int
    out_size: int

    @nn.compact
    def __call__(self, x):
        a = nn.Dense(self.hidden_size)(x)
        h = nn.relu(a)
        return nn.Dense(self.out_size)(h)


class CompactScaledMLP(nn.Module):
    hidden_size: int
    out_size: int

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones_init(), x.shape[-1:])
        x *= scale[None]
        a = nn.Dense(self.hidden_size)(x)
        h = nn.relu(a)
        return nn.Dense(self.out_size)(h)


def test_the_front_page():
    class MLP(nn.Module):
        out_dims: int

        @nn.compact
        def __call__(self, x):
            x = x.reshape((x.shape[0], -1))
            x = nn.Dense(128)(x)
            x = nn.relu(x)
            return nn.Dense(self.out_dims)(x)

    model = MLP(out_dims=10)
    x = jnp.empty((4, 28, 28, 1))
    variables = model.init(random.PRNGKey(42), x)
    y = model.apply(variables, x)
    assert y.shape == (4, 10)
    assert variables["params"]["Dense_0"]["kernel"].shape == (784, 128)


def test_init_is_apply():
    mlp = MLP(hidden_size=5, out_size=3)
    x = jax.numpy.ones((1, 2))
    variables = mlp.init(random.PRNGKey(0), x)
    y = mlp.apply(variables, x)
    assert y.shape == (1, 3)
    same_y, same = mlp.apply({}, x, rngs={"params": random.PRNGKey(0)}, mutable=True)
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    np.testing.assert_array_equal(y, same_y)
    # The same arguments, the same outputs; and the module is as it was.
    np.testing.assert_array_equal(y, mlp.apply(variables, x))
    assert mlp.scope is None
    with config.temp_flip_flag("unbound_submodules", False):
        assert not hasattr(mlp, "hidden")


def test_compact_modules():
    x = jax.numpy.ones((1, 2))
    variables = CompactMLP(5, 3).init(random.PRNGKey(0), x)
    assert list(variables["params"]) == ["Dense_0", "Dense_1"]
    scaled = CompactScaledMLP(5, 3).init(random.PRNGKey(0), x)
    assert scaled["params"]["scale"].shape == (2,)
    # A scale of ones changes no output, and no key of the other parameters.
    np.testing.assert_array_equal(
        CompactScaledMLP(5, 3).apply(scaled, x), CompactMLP(5, 3).apply(variables, x)
    )


def test_control_flow_and_names():
    class WrongModule(nn.Module):
        @nn.compact
        def __call__(self, x, mode):
            if mode == "encode":
                return nn.Dense(features=8)(x)
            elif mode == "decode":
                return nn.Dense(features=4)(x)

    class CorrectModule(nn.Module):
        @nn.compact
        def __call__(self, x, mode):
            encoder = nn.Dense(8)
            decoder = nn.Dense(4)
            if mode == "encode":
                return encoder(x)
            elif mode == "decode":
                return decoder(x)

    x = jnp.ones((1, 6))
    variables = WrongModule().init(random.PRNGKey(0), x, "encode")
    with pytest.raises(errors.ScopeParamShapeError):
        WrongModule().apply(variables, x, "decode")

    encoder = CorrectModule().init(random.PRNGKey(0), x, "encode")["params"]
    decoder = CorrectModule().init(random.PRNGKey(0), x, "decode")["params"]
    assert list(encoder) == ["Dense_0"]
    assert list(decoder) == ["Dense_1"]
    both = {"params": {**encoder, **decoder}}
    assert CorrectModule().apply(both, x, "encode").shape == (1, 8)
    assert CorrectModule().apply(both, x, "decode").shape == (1, 4)


def test_attributes_of_setup_outside():
    class TopLevelAccess(nn.Module):
        def setup(self):
            self.foo = nn.Dense(2)

    mdl = TopLevelAccess()
    with config.temp_flip_flag("unbound_submodules", False):
        assert not hasattr(mdl, "foo")
    # The note's future work, which is there unless it is turned off.
    assert mdl.foo.path == ("foo",)
    assert mdl.foo.scope is None
    assert nn.apply(lambda bound: bound.foo.features, mdl)({}) == 2


def test_transforms_do_not_see_closures():
    class Foo(nn.Module):
        transformed: bool

        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(x.shape[-1])

            def fn(x):
                return dense(x) + 1

            if not self.transformed:
                return self.inner(x, fn)
            vmap_inner = nn.vmap(
                Foo.inner,
                in_axes=0,
                variable_axes={"params": 0},
                split_rngs={"params": True},
            )
            return vmap_inner(self, x, fn)

        def inner(self, x, fn):
            for _ in range(3):
                x = fn(x)
            return x

    x = jnp.ones((2, 3))
    assert Foo(False).init_with_output(random.PRNGKey(0), x)[0].shape == (2, 3)
    # A function is not what jax.vmap maps over.
    with pytest.raises((TypeError, ValueError, errors.JaxTransformError)):
        Foo(True).init(random.PRNGKey(0), x)


class Partial(struct.PyTreeNode):
    fn: Callable = struct.field(pytree_node=False)
    args: Iterable[Any]

    def __call__(self, *args, **kwargs):
        return self.fn(*(tuple(self.args) + args), **kwargs)


def test_modules_inside_a_pytree_are_lifted():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(x.shape[-1])

            def fn(mdl, x):
                return mdl(x) + 1

            vmap_inner = nn.vmap(
                Foo.inner,
                in_axes=0,
                variable_axes={"params": 0},
                split_rngs={"params": True},
            )
            return vmap_inner(self, x, Partial(fn, [dense]))

        def inner(self, x, fn):
            for _ in range(3):
                x = fn(x)
            return x

    x = random.normal(random.PRNGKey(1), (2, 3))
    y, variables = Foo().init_with_output(random.PRNGKey(0), x)
    dense = variables["params"]["Dense_0"]
    assert jax.tree.map(jnp.shape, dense) == {"bias": (2, 3), "kernel": (2, 3, 3)}
    expected = x
    for _ in range(3):
        expected = jnp.einsum("bi,bio->bo", expected, dense["kernel"]) + 1
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_a_part_is_called_through_bind():
    """The note's autoencoder: its decoder alone, by what `bind` and `unbind` give."""

    class AutoEncoder(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(2)
            self.decoder = nn.Dense(4)

        def __call__(self, x):
            return self.decoder(self.encoder(x))

    auto_encoder = AutoEncoder()
    variables = auto_encoder.init(random.PRNGKey(0), jnp.ones((1, 4)))
    with (
        config.temp_flip_flag("unbound_submodules", False),
        pytest.raises(AttributeError, match="decoder"),
    ):
        auto_encoder.decoder.apply({}, jnp.ones((1, 2)))
    part = {"params": variables["params"]["decoder"]}
    wished = auto_encoder.decoder.apply(part, jnp.ones((1, 2)))
    decoder, decoder_variables = auto_encoder.bind(variables).decoder.unbind()
    found = decoder.apply(decoder_variables, jnp.ones((1, 2)))
    assert found.shape == (1, 4)
    np.testing.assert_array_equal(found, wished)

"""Tests of batiste.linen.transforms.lift_transform: transforms of one's own."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn
from batiste.core import lift
from batiste.linen import errors, transforms

KEY = jax.random.key(0)
X = jnp.ones((4, 3))


class Block(nn.Module):
    features: int = 2

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.features)(x)

    def twice(self, x):
        return 2 * self(x)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_class_as_the_transform_of_that_name_makes_it():
    axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    Lifted = transforms.lift_transform(lift.vmap, Block, **axes)
    assert Lifted.__name__ == nn.vmap(Block, **axes).__name__ == "VmapBlock"
    variables = Lifted(5).init(KEY, X)
    assert_same(variables, nn.vmap(Block, **axes)(5).init(KEY, X))
    by_position = transforms.lift_transform(lift.vmap, Block, *axes.values())
    assert_same(variables, by_position(5).init(KEY, X))


def test_methods_and_their_own_options():
    def scale(fn, factor=1):
        return lambda scopes, *args: factor * fn(scopes, *args)

    Lifted = transforms.module_class_lift_transform(
        scale, Block, methods={"twice": {"factor": 5}}, factor=3
    )
    variables = Block().init(KEY, X)
    y = Block().apply(variables, X)
    np.testing.assert_array_equal(Lifted().apply(variables, X), y)
    y_twice = Lifted().apply(variables, X, method="twice")
    np.testing.assert_array_equal(y_twice, 5 * (2 * y))


def test_the_transform_sees_each_call():
    seen = []

    def look(fn):
        def run(scopes, *args):
            seen.append((fn.__name__, type(scopes), len(scopes)))
            return fn(scopes, *args)

        return run

    model = transforms.lift_transform(look, Block)(name="block")
    model.init(KEY, X)
    first = seen.copy()
    model.init(KEY, X)
    assert first == [("__call__", list, 1)]
    assert seen == 2 * first


def test_instances_are_pickled_with_their_transform():
    Lifted = transforms.lift_transform(lift.checkpoint, Block, prevent_cse=False)
    again = pickle.loads(pickle.dumps(Lifted(3)))
    assert type(again).__name__ == "CheckpointBlock"
    assert again.features == 3
    assert_same(again.init(KEY, X), Block(3).init(KEY, X))


def test_methods_and_functions():
    class Model(nn.Module):
        @functools.partial(transforms.decorator_lift_transform, lift.checkpoint)
        @nn.compact
        def __call__(self, x):
            block = transforms.lift_transform(lift.checkpoint, lambda m, x: m(x))
            return block(nn.Dense(2, name="Dense_0"), x)

    variables = Model().init(KEY, X)
    assert_same(variables, Block().init(KEY, X))
    jaxpr = jax.make_jaxpr(Model().apply)(variables, X)
    assert str(jaxpr).count("remat") == 2


def test_functions_called_through_a_transform():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, pred):
            pair = [nn.Dense(2), nn.Dense(2)]
            for layer in pair:
                layer(x)

            def choose(first, second, scopes, pred, x):
                return lift.cond(pred, first, second, scopes, x)

            fns = (lambda m, x: m[0](x), lambda m, x: m[1](x))
            return transforms.lift_direct_transform(choose, fns, pair, pred, x)

    variables = Model().init(KEY, X, True)
    for pred, name in ((True, "Dense_0"), (False, "Dense_1")):
        expected = nn.Dense(2).apply({"params": variables["params"][name]}, X)
        y = Model().apply(variables, X, pred)
        np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_functions_called_with_the_one_scope():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(2)
            layer(x)
            y, _ = transforms.lift_direct_transform(
                lift.vjp, [lambda m, x: m(x)], layer, x, multi_scope=False
            )
            return y

    y, variables = Model().init_with_output(KEY, X)
    np.testing.assert_array_equal(y, Block().apply(variables, X))


def test_one_scope_where_there_are_two():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            pair = [nn.Dense(2), nn.Dense(2)]
            return transforms.lift_direct_transform(
                lift.vjp, [lambda m, x: m[0](x)], pair, x, multi_scope=False
            )

    with pytest.raises(
        ValueError, match="lifted vjp takes the variables of one module"
    ):
        Model().init(KEY, X)


def test_what_cannot_be_transformed():
    with pytest.raises(errors.TransformTargetError):
        transforms.lift_transform(lift.checkpoint, nn.Dense(2))

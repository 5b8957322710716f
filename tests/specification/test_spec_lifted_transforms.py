"""The programs of the design note "Lifted transformations"."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax import random

from batiste import linen as nn
from batiste.core import apply, init, lift
from batiste.core import nn as core_nn


class MLP(nn.Module):
    @nn.compact
    def __call__(self, xs):
        h = nn.Dense(4, name="hidden")(xs)
        h = nn.relu(h)
        return nn.Dense(1, name="out")(h)


class ManualVmapMLP(nn.Module):
    @nn.compact
    def __call__(self, xs):
        mlp = MLP(parent=None)

        def init_fn(rng, xs):
            keys = random.split(rng, xs.shape[0])
            return jax.vmap(mlp.init, in_axes=0)(keys, xs)["params"]

        apply_fn = jax.vmap(mlp.apply, in_axes=0)
        mlp_params = self.param("mlp", init_fn, xs)
        return apply_fn({"params": mlp_params}, xs)


class LinenVmapMLP(nn.Module):
    @nn.compact
    def __call__(self, xs):
        VmapMLP = nn.vmap(
            MLP, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=0
        )
        return VmapMLP(name="mlp")(xs)


SHAPES = {
    "mlp": {
        "hidden": {"bias": (3, 4), "kernel": (3, 4, 4)},
        "out": {"bias": (3, 1), "kernel": (3, 4, 1)},
    }
}


def test_a_module_is_no_argument_of_jax_vmap():
    class NaiveVmapMLP(nn.Module):
        @nn.compact
        def __call__(self, xs):
            mlp = MLP()
            return jax.vmap(lambda mlp, x: mlp(x))(mlp, xs)

    with pytest.raises((TypeError, ValueError)):
        NaiveVmapMLP().init(random.PRNGKey(0), jnp.ones((3, 4)))


def test_functionalization_by_hand():
    xs = jnp.ones((3, 4))
    variables = ManualVmapMLP().init(random.PRNGKey(0), xs)
    assert jax.tree_util.tree_map(jnp.shape, variables["params"]) == SHAPES
    y = ManualVmapMLP().apply(variables, xs)
    for i in range(3):
        one = jax.tree.map(lambda p, i=i: p[i], variables["params"]["mlp"])
        np.testing.assert_allclose(y[i], MLP().apply({"params": one}, xs[i]), rtol=1e-5)


def test_functionalization_by_vmap():
    xs = jnp.ones((3, 4))
    variables = LinenVmapMLP().init(random.PRNGKey(0), xs)
    # The note prints the names and the shape of another MLP here; these are of the
    # one that it defines.
    assert jax.tree_util.tree_map(jnp.shape, variables["params"]) == SHAPES
    y = LinenVmapMLP().apply(variables, xs)
    np.testing.assert_allclose(y, ManualVmapMLP().apply(variables, xs), rtol=1e-5)


def test_state_is_mapped_too():
    class StatefulMLP(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            h = nn.Dense(4, name="hidden")(x)
            h = nn.BatchNorm(axis_name="batch")(h, use_running_average=not train)
            h = nn.relu(h)
            return nn.Dense(1, name="out")(h)

    class LinenStatefulVmapMLP(nn.Module):
        @nn.compact
        def __call__(self, xs, *, train):
            # The note leaves axis_name out, without which "batch" is unbound.
            VmapMLP = nn.vmap(
                StatefulMLP,
                variable_axes={"params": 0, "batch_stats": 0},
                split_rngs={"params": True},
                in_axes=0,
                axis_name="batch",
            )
            return VmapMLP(name="mlp")(xs, train=train)

    xs = random.normal(random.PRNGKey(1), (3, 4))
    variables = LinenStatefulVmapMLP().init(random.PRNGKey(0), xs, train=False)
    stats = jax.tree.map(jnp.shape, variables["batch_stats"])
    assert stats == {"mlp": {"BatchNorm_0": {"mean": (3, 4), "var": (3, 4)}}}
    _, updates = LinenStatefulVmapMLP().apply(
        variables, xs, train=True, mutable=["batch_stats"]
    )
    hidden = variables["params"]["mlp"]["hidden"]
    h = jnp.einsum("bi,bio->bo", xs, hidden["kernel"])
    mean = updates["batch_stats"]["mlp"]["BatchNorm_0"]["mean"]
    expected = np.broadcast_to(0.01 * h.mean(0), (3, 4))
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-7)


def lift_transpose(fn, target="params", variables=True, rngs=True):
    def wrapper(scope_fn, repack_fn, variable_groups, rng_groups, *args):
        target, rest = variable_groups

        def trans(x):
            if x.ndim == 2:
                return x.T
            return x

        target = jax.tree_util.tree_map(trans, target)
        variable_groups = (target, rest)
        scope = scope_fn(variable_groups, rng_groups)
        y = fn(scope, *args)
        out_variables = repack_fn(scope)
        return y, out_variables

    return lift.pack(
        wrapper,
        in_variable_filters=(target, variables),
        out_variable_filters=(variables,),
        rng_filters=(rngs,),
    )


def test_pack():
    x = random.normal(random.PRNGKey(1), (3, 2))
    y, variables = init(lift_transpose(core_nn.dense))(random.PRNGKey(0), x, 4)
    # Nothing was there to transpose when the parameters were made.
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "bias": (4,),
        "kernel": (2, 4),
    }
    np.testing.assert_allclose(y, x @ variables["params"]["kernel"], rtol=1e-5)

    # A square kernel shows that applying sees the transposed one.
    x = random.normal(random.PRNGKey(1), (3, 4))
    _, variables = init(lift_transpose(core_nn.dense))(random.PRNGKey(0), x, 4)
    y = apply(lift_transpose(core_nn.dense))(variables, x, 4)
    expected = x @ variables["params"]["kernel"].T
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)

"""Tests of batiste.core.lift.remat."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, errors, init, lift, meta, nn, struct

KEY = jax.random.key(0)


class Named(struct.PyTreeNode, meta.AxisMetadata):
    value: jax.Array
    names: tuple = struct.field(pytree_node=False)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        names = (*self.names[:index], params["name"], *self.names[index:])
        return self.replace(names=names)

    def remove_axis(self, index, params):
        assert self.names[index] == params["name"]
        return self.replace(names=self.names[:index] + self.names[index + 1 :])


def layer(scope, x):
    h = jnp.sin(nn.dense(scope.push("dense"), x, x.shape[-1]))
    keep = jax.random.bernoulli(scope.make_rng("dropout"), 0.5, h.shape)
    return x + jnp.where(keep, h, 0)


RNGS = {"params": KEY, "dropout": jax.random.key(1)}


def test_checkpoint_changes_nothing_but_what_is_kept():
    x = jnp.ones((2, 3))
    y, variables = init(layer)(RNGS, x)
    remat_y, remat_variables = init(lift.checkpoint(layer))(RNGS, x)
    jax.tree.map(np.testing.assert_array_equal, variables, remat_variables)
    np.testing.assert_allclose(y, remat_y, rtol=1e-6)

    def loss(fn):
        return lambda v: apply(fn)(v, x, rngs=RNGS).sum()

    a = jax.grad(loss(layer))(variables)
    b = jax.grad(loss(lift.remat(layer)))(variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), a, b)
    jaxpr = jax.make_jaxpr(jax.grad(loss(lift.remat(layer))))(variables)
    names = {eqn.primitive.name for eqn in jaxpr.eqns}
    assert names & {"remat", "remat2", "checkpoint"}


def test_policy():
    policy = jax.checkpoint_policies.everything_saveable
    fn = lift.checkpoint(lambda s, x: jnp.sin(jnp.sin(x)), policy=policy)
    jaxpr = str(jax.make_jaxpr(jax.grad(lambda x: apply(fn)({}, x)))(1.0))
    assert jaxpr.count("sin ") == 2


def test_static_arguments_are_counted_without_the_scope():
    def fn(scope, x, double):
        return 2 * x if double else x

    for static_argnums in (1, (1,), -1):
        lifted = lift.checkpoint(fn, static_argnums=static_argnums)
        assert apply(lifted)({}, 1.0, True) == 2


def test_keyword_arguments():
    assert apply(lift.checkpoint(lambda s, x, y: x - y))({}, y=1.0, x=3.0) == 2


def test_concrete_values_decide_over_control_flow():
    def fn(scope, x, double, *, negate=False):
        w = scope.get_variable("params", "w")
        y = jnp.sin(w * x) * (2 if double else 1)
        return -y if negate else y

    lifted = lift.checkpoint(fn, concrete=True)
    plain, checkpointed = apply(fn), apply(lifted)

    def both(*args, **kwargs):
        def slope(model):
            return jax.grad(lambda w: model({"params": {"w": w}}, *args, **kwargs))(2.0)

        return slope(plain), slope(checkpointed)

    for double in (True, False):
        expected, found = both(3.0, double, negate=double)
        assert expected == found
    program = jax.make_jaxpr(
        jax.grad(lambda w: checkpointed({"params": {"w": w}}, 3.0, 1))
    )
    assert "prevent_cse=True" in str(program(2.0))


def test_concrete_arrays_outside_of_transformations():
    def fn(scope, x):
        return x if x.sum() > 0 and scope.get_variable("params", "w") > 0 else -x

    x, variables = jnp.ones(2), {"params": {"w": 1}}
    assert apply(lift.checkpoint(fn, concrete=True))(variables, x) is x
    with pytest.raises(jax.errors.TracerBoolConversionError):
        apply(lift.checkpoint(fn))(variables, x)


def test_concrete_makes_and_changes_variables():
    lifted = lift.checkpoint(layer, concrete=True)
    x = jnp.ones((2, 3))
    expected, found = init(layer)(RNGS, x), init(lifted)(RNGS, x)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), expected, found))


@pytest.mark.parametrize("lengths", [(4,), (2, 3)])
def test_a_deep_residual_network(lengths):
    x = jnp.ones((2, 3))
    deep = lift.remat_scan(layer, lengths)
    y, variables = init(deep)(RNGS, x)
    kernels = variables["params"]["dense"]["kernel"]
    assert kernels.shape == (*lengths, 3, 3)
    assert y.shape == x.shape
    flat = np.asarray(kernels).reshape(-1, 9)
    assert len(set(map(tuple, flat.tolist()))) == np.prod(lengths)

    def no_dropout(scope, x):
        return x + jnp.sin(nn.dense(scope.push("dense"), x, x.shape[-1]))

    def unrolled(params, x):
        flat = jax.tree.map(lambda p: p.reshape(-1, *p.shape[len(lengths) :]), params)
        for i in range(np.prod(lengths)):
            one = jax.tree.map(lambda p, i=i: p[i], flat)
            x = apply(no_dropout)({"params": one}, x)
        return x.sum()

    def deep_loss(params, x):
        return apply(lift.remat_scan(no_dropout, lengths))({"params": params}, x).sum()

    params = dict(variables["params"])
    a, a_grads = jax.value_and_grad(unrolled)(params, x)
    b, b_grads = jax.value_and_grad(deep_loss)(params, x)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        a_grads,
        b_grads,
    )


def test_a_deep_network_of_no_loops():
    with pytest.raises(ValueError, match="at least one loop"):
        lift.remat_scan(layer, ())


def test_boxes_gain_an_axis_in_each_loop():
    def boxed(scope, x):
        return x + scope.param("w", lambda key: Named(jnp.ones(x.shape), ("in",)))

    def names(params):
        deep = lift.remat_scan(boxed, (2, 3), metadata_params=params)
        _, variables = init(deep)(KEY, jnp.ones(4))
        assert variables["params"]["w"].value.shape == (2, 3, 4)
        assert apply(deep)(variables, jnp.ones(4)).shape == (4,)
        return variables["params"]["w"].names

    each = ({"name": "stages"}, {"name": "layers"})
    assert names(each) == ("stages", "layers", "in")
    assert names({"name": None}) == (None, None, "in")
    with pytest.raises(ValueError, match="has 2 loops, but metadata_params has 1"):
        names(each[:1])


def configured(scope, x, n, train=False):
    return nn.dense(scope, 2 * x if train else x, n)


@pytest.mark.parametrize("transform", [lift.checkpoint, lift.jit])
def test_static_arguments_by_position_keyword_and_default(transform):
    run = transform(configured, static_argnums=(1, 2))
    x = jnp.ones((2, 3))
    plain, variables = init(configured)(jax.random.key(0), x, 4)
    twice = apply(configured)(variables, x, 4, True)
    for args, kwargs, expected in [
        ((x, 4), {}, plain),
        ((x, 4, True), {}, twice),
        ((x, 4), {"train": True}, twice),
        ((x,), {"n": 4}, plain),
        ((x,), {"n": 4, "train": True}, twice),
        ((), {"x": x, "n": 4, "train": True}, twice),
    ]:
        y = apply(run)(variables, *args, **kwargs)
        np.testing.assert_allclose(y, expected, rtol=1e-6)
    with pytest.raises(
        errors.InvalidArgumentError, match="has 5, but configured has no"
    ):
        transform(configured, static_argnums=(1, 5))


@pytest.mark.parametrize("transform", [lift.checkpoint, lift.jit])
def test_static_arguments_by_name(transform):
    run = transform(configured, static_argnames=("n", "train"))
    x = jnp.ones((2, 3))
    for args, kwargs in [((x, 4, True), {}), ((x,), {"n": 4, "train": True})]:
        y, _ = init(run)(jax.random.key(0), *args, **kwargs)
        assert y.shape == (2, 4)

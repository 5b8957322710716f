"""One annotated model in every context: meshes put in force, jit or not, any keys.

Under `with mesh:` and `jax.set_mesh`, inside and outside of `jax.jit`, with typed and
with raw keys, in eager mode and without any mesh: values are the same everywhere, and
constraints are there where, and only where, a program is staged under a mesh.
"""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from batiste import linen as nn
from batiste.core import apply as core_apply
from batiste.core import init as core_init
from batiste.core import nn as core_nn

RULES = (("batch", "data"), ("hidden", "model"))
X = np.linspace(-1, 1, 8 * 16, dtype=np.float32).reshape(8, 16)


class Net(nn.Module):
    """Both kinds of boxes, constraints, dropout, and a statistic."""

    @nn.compact
    def __call__(self, x):
        up = nn.with_logical_partitioning(
            nn.initializers.lecun_normal(), ("embed", "hidden")
        )
        down = nn.with_partitioning(nn.initializers.lecun_normal(), ("model", None))
        x = nn.Dense(32, kernel_init=up, name="up")(x)
        x = nn.with_logical_constraint(x, ("batch", "hidden"))
        x = nn.Dropout(0.5, deterministic=False)(nn.relu(x))
        mean = self.variable(
            "stats", "mean", nn.with_partitioning(nn.initializers.zeros, ("model",)),
            None, (32,)
        )  # fmt: skip
        mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
        x = nn.Dense(16, kernel_init=down, name="down")(x)
        return nn.with_logical_constraint(x, ("batch", "embed"))


def init_and_apply(keys, init_fn, apply_fn):
    variables = init_fn({"params": keys[0], "dropout": keys[1]}, X)
    y, updated = apply_fn(variables, X, {"dropout": keys[2]})
    return variables, y, updated


def apply_net(variables, x, rngs):
    return Net().apply(variables, x, rngs=rngs, mutable=["stats"])


@pytest.fixture(params=[jax.random.key, jax.random.PRNGKey], ids=["typed", "raw"])
def keys(request):
    """Keys of both kinds, with the same bits."""
    return [request.param(i) for i in range(3)]


@pytest.fixture(scope="module")
def expected():
    """What comes out without a mesh."""
    keys = [jax.random.key(i) for i in range(3)]
    return init_and_apply(keys, jax.jit(Net().init), jax.jit(apply_net))


def check(found, expected):
    variables, y, updated = found
    boxes = variables["params"]
    assert type(boxes["up"]["kernel"]) is nn.LogicallyPartitioned
    assert boxes["up"]["kernel"].names == ("embed", "hidden")
    assert boxes["down"]["kernel"].names == ("model", None)
    assert type(updated["stats"]["mean"]) is nn.Partitioned
    assert updated["stats"]["mean"].names == ("model",)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        found,
        expected,
    )


def test_inside_of_jit(keys, expected, enter_mesh, mesh):
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        found = init_and_apply(keys, jax.jit(Net().init), jax.jit(apply_net))
    check(found, expected)
    # Constraints reach the outputs, too: here that is all that says where they lie.
    variables, y, _ = found
    assert y.sharding.is_equivalent_to(
        NamedSharding(mesh, PartitionSpec("data", None)), y.ndim
    )


def test_the_mesh_put_in_force_inside_of_jit(keys, expected, mesh):
    def under_mesh(fn):
        def call(*args):
            with mesh, nn.logical_axis_rules(RULES):
                return fn(*args)

        return jax.jit(call)

    found = init_and_apply(keys, under_mesh(Net().init), under_mesh(apply_net))
    check(found, expected)


def test_eager(keys, expected, enter_mesh, mesh):
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        found = init_and_apply(keys, Net().init, apply_net)
    check(found, expected)
    for leaf in jax.tree.leaves(found):
        assert len(leaf.sharding.device_set) == 1 or leaf.sharding.is_fully_replicated


def test_eager_on_sharded_variables(expected, enter_mesh, mesh):
    """They stay where they are; `get_sharding` put them there."""
    variables, *_ = expected
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        shardings = nn.get_sharding(variables, mesh)
        in_boxes = nn.meta.replace_boxed(variables, shardings)
        placed = jax.device_put(variables, in_boxes)
        y, _ = apply_net(placed, X, {"dropout": jax.random.key(2)})
    np.testing.assert_allclose(y, expected[1], rtol=1e-5, atol=1e-6)


def test_initialized_into_shards(keys, expected, enter_mesh, mesh):
    rngs = {"params": keys[0], "dropout": keys[1]}
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        abstract = jax.eval_shape(Net().init, rngs, X)
        shardings = nn.get_sharding(abstract, mesh)
        variables = jax.jit(Net().init, out_shardings=shardings)(rngs, X)
    up, down = (variables["params"][name]["kernel"] for name in ("up", "down"))
    assert up.value.addressable_shards[0].data.shape == (16, 8)
    assert down.value.addressable_shards[0].data.shape == (8, 16)
    assert variables["stats"]["mean"].value.sharding.spec == PartitionSpec("model")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        variables,
        expected[0],
    )


def specs_of_constraints(jaxpr):
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "sharding_constraint":
            found.append(tuple(equation.params["sharding"].spec))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if hasattr(inner, "eqns"):
                found += specs_of_constraints(inner)
            elif hasattr(value, "eqns"):
                found += specs_of_constraints(value)
    return found


def test_constraints_are_where_a_mesh_and_rules_are(expected, enter_mesh, mesh):
    variables, *_ = expected
    rngs = {"dropout": jax.random.key(2)}

    def constraints():
        # A new function each time: what was traced is kept with the old context.
        fn = jax.make_jaxpr(lambda v, x: apply_net(v, x, rngs))
        return sorted(map(str, specs_of_constraints(fn(variables, X).jaxpr)))

    with nn.logical_axis_rules(RULES):
        assert constraints() == []
    with enter_mesh(mesh):
        # Boxes with names of mesh axes need no rules: those of `mean` and of `down`.
        without_rules = constraints()
        assert without_rules == sorted(map(str, [("model",), ("model", None)]))
        with nn.logical_axis_rules(RULES):
            assert constraints() == sorted(
                [
                    *without_rules,
                    str((None, "model")),  # up
                    str(("data", "model")),
                    str(("data", None)),
                ]
            )


def test_the_functional_core(enter_mesh, mesh):
    kernel_init = nn.with_logical_partitioning(
        nn.initializers.ones, ("embed", "hidden")
    )

    def net(scope, x):
        y = core_nn.dense(scope, x, 8, kernel_init=kernel_init)
        return nn.with_logical_constraint(y, ("batch", "hidden"))

    eager, variables = core_init(net)(jax.random.key(0), X)
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        staged = jax.jit(core_apply(net))(variables, X)
        again = core_apply(net)(variables, X)
    np.testing.assert_allclose(staged, eager, rtol=1e-6)
    np.testing.assert_allclose(again, eager, rtol=1e-6)
    assert staged.sharding.spec == PartitionSpec("data", "model")


def test_transforms_of_jax_around_and_inside_of_jit(expected, enter_mesh, mesh):
    variables, *_ = expected
    rngs = {"dropout": jax.random.key(2)}

    def loss(params, x):
        y, _ = apply_net({**variables, "params": params}, x, rngs)
        return jnp.sum(y**2)

    plain = jax.jit(jax.grad(loss))(variables["params"], X)
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        grads = jax.jit(jax.grad(loss))(variables["params"], X)
        abstract = jax.eval_shape(jax.grad(jax.jit(loss)), variables["params"], X)
        per_example = jax.vmap(jax.grad(loss), (None, 0))
        stacked = jax.eval_shape(jax.jit(per_example), variables["params"], X[:4, None])
    for tree in (grads, abstract, stacked):
        assert tree["up"]["kernel"].names == ("embed", "hidden")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        grads,
        plain,
    )
    assert stacked["up"]["kernel"].value.shape == (4, 16, 32)


def test_constraints_leave_the_rest_alone(enter_mesh, mesh):
    """Names that no rule applies to, None for a tree, keys, and numbers."""
    key = jax.random.key(0)
    tree = {"x": jnp.ones((8, 8)), "key": key, "step": 3}
    names = {"x": ("batch", "unknown"), "key": None, "step": None}
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        assert nn.with_logical_constraint(3, ()) == 3
        eager = nn.with_logical_constraint(tree, names)
        assert eager["x"] is tree["x"]
        assert eager["key"] is key
        assert eager["step"] == 3
        staged = jax.jit(lambda tree: nn.with_logical_constraint(tree, names))(tree)
        split = jax.jit(
            lambda key: nn.with_logical_constraint(
                jax.random.split(key, 8), PartitionSpec("batch")
            )
        )(key)
    assert staged["x"].sharding.is_equivalent_to(
        NamedSharding(mesh, PartitionSpec("data")), 2
    )
    assert split.shape == (8,)
    assert jnp.issubdtype(split.dtype, jax.dtypes.prng_key)
    np.testing.assert_array_equal(
        jax.random.key_data(split), jax.random.key_data(jax.random.split(key, 8))
    )

"""A wrong annotation is an error with the parameter's path, wherever it is noticed.

In a running module, under a mesh, that is where the parameter is read; before, it is
where specs, shardings or a plan are made of the variables.
"""

import jax
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste import spmd
from batiste.core import init
from batiste.core import nn as core_nn

KEY = jax.random.key(0)
X = jnp.ones((4, 8))
RULES = (("embed", "data"), ("hidden", "model"), ("wrong", "modle"), ("two", "data"))

# What is wrong: the box, its names, the error, and words of the message.
WRONG = {
    "unknown_mesh_axis": (
        *(nn.with_partitioning, (None, "modle"), spmd.UnknownAxisError),
        ["Axis 'modle' is not among the axes of the mesh: 'data', 'model'"],
    ),
    "unknown_axis_in_a_rule": (
        *(nn.with_logical_partitioning, ("embed", "wrong"), spmd.UnknownAxisError),
        ["Axis 'modle' is not among the axes of the mesh", "Nearest names: 'model'."],
    ),
    "too_many_names": (
        *(nn.with_partitioning, (None, "model", None), spmd.RankMismatchError),
        ["3 axis names", "rank 2 with shape (8, 16)", "metadata_params="],
    ),
    "too_many_logical_names": (
        nn.with_logical_partitioning,
        ("layers", "embed", "hidden"),
        spmd.RankMismatchError,
        ["3 axis names", "rank 2 with shape (8, 16)"],
    ),
    "one_mesh_axis_twice": (
        *(nn.with_partitioning, ("model", "model"), spmd.DuplicateAxisError),
        ["'model' occur more than once"],
    ),
    "one_name_twice": (
        *(nn.with_logical_partitioning, ("embed", "embed"), spmd.DuplicateAxisError),
        ["'embed' occur more than once"],
    ),
}
each_wrong = pytest.mark.parametrize("wrong", WRONG)


def kernel_init(wrong, **kwargs):
    box, names, *_ = WRONG[wrong]
    return box(nn.initializers.ones, names, **kwargs)


def check(info, wrong, path="params/encoder/Dense_0/kernel"):
    *_, kind, words = WRONG[wrong]
    error = info.value
    assert type(error) is kind
    assert isinstance(error, ValueError)
    assert error.path == path
    text = str(error)
    assert text.startswith(f'In "{path}": ')
    assert all(word in text for word in words), text


class Encoder(nn.Module):
    kernel_init: object

    @nn.compact
    def __call__(self, x):
        return nn.Dense(16, kernel_init=self.kernel_init)(x)


class Net(nn.Module):
    """The encoder, run through a transform."""

    kernel_init: object
    transform: object = None

    @nn.compact
    def __call__(self, x):
        layer = self.transform(Encoder) if self.transform else Encoder
        return layer(self.kernel_init, name="encoder")(x)


@each_wrong
def test_in_a_module_under_a_mesh(wrong, enter_mesh, mesh):
    net = Net(kernel_init(wrong))
    with (
        enter_mesh(mesh),
        nn.logical_axis_rules(RULES),
        pytest.raises(spmd.PartitioningError) as info,
    ):
        jax.jit(net.init)(KEY, X)
    check(info, wrong)
    # Eager, and without a mesh, nothing is laid out, and nothing fails.
    variables = net.init(KEY, X)
    jax.jit(net.apply)(variables, X)
    with enter_mesh(mesh), nn.logical_axis_rules(RULES):
        net.apply(variables, X)
        with pytest.raises(spmd.PartitioningError) as info:
            jax.jit(net.apply)(variables, X)
    check(info, wrong)


@each_wrong
def test_where_layouts_are_made(wrong, mesh):
    """`get_sharding` and the others tell it before anything runs."""
    variables = jax.eval_shape(Net(kernel_init(wrong)).init, KEY, X)
    *_, kind, _ = WRONG[wrong]
    with nn.logical_axis_rules(RULES):
        with pytest.raises(spmd.PartitioningError) as info:
            nn.get_sharding(variables, mesh)
        check(info, wrong)
        with pytest.raises(spmd.PartitioningError) as info:
            spmd.plan(variables, mesh)
        check(info, wrong)
        if kind is spmd.RankMismatchError:
            with pytest.raises(spmd.PartitioningError) as info:
                nn.get_partition_spec(variables)
            check(info, wrong)
        elif WRONG[wrong][0] is nn.with_logical_partitioning:
            specs = nn.get_partition_spec(variables)
            with pytest.raises(spmd.PartitioningError) as info:
                nn.logical_to_mesh_sharding(specs, mesh)
            check(info, wrong)


@pytest.mark.parametrize("wrong", ["unknown_mesh_axis", "too_many_logical_names"])
def test_a_box_with_its_own_mesh_tells_it_in_eager_mode_too(wrong, mesh):
    options = {"mesh": mesh}
    if "logical" in wrong:
        options["rules"] = RULES
    with pytest.raises(spmd.PartitioningError) as info:
        Net(kernel_init(wrong, **options)).init(KEY, X)
    check(info, wrong)


TRANSFORMS = {
    "jit": nn.jit,
    "remat": nn.remat,
    "vmap": lambda layer: nn.vmap(
        layer,
        {"params": 0},
        {"params": True},
        metadata_params={nn.PARTITION_NAME: None},
    ),
    "map_variables": lambda layer: nn.map_variables(layer, "params", mutable=True),
    "remat_scan": lambda layer: nn.remat_scan(
        layer, (2, 2), metadata_params={nn.PARTITION_NAME: None}
    ),
    "fold_rngs": nn.fold_rngs,
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_within_lifted_transforms(transform, mesh):
    wrong = "unknown_mesh_axis"
    x = jnp.ones((16, 16)) if transform == "remat_scan" else X
    net = Net(kernel_init(wrong), TRANSFORMS[transform])
    with mesh, pytest.raises(spmd.UnknownAxisError) as info:
        jax.jit(net.init)(KEY, x)
    check(info, wrong)


def test_in_setup_and_for_other_collections(mesh):
    box = kernel_init("unknown_mesh_axis")

    class Layer(nn.Module):
        def setup(self):
            self.mean = self.variable("stats", "mean", box, KEY, (8, 16))

        def __call__(self, x):
            return x @ self.mean.value

    class Stack(nn.Module):
        def setup(self):
            self.layers = [Layer(), Layer()]

        def __call__(self, x):
            return self.layers[1](x)

    with mesh, pytest.raises(spmd.UnknownAxisError) as info:
        jax.jit(Stack().init)(KEY, X)
    check(info, "unknown_mesh_axis", "stats/layers_1/mean")


def test_in_the_functional_core(mesh):
    def net(scope, x):
        layer = scope.push("encoder").push("Dense_0")
        return core_nn.dense(layer, x, 16, kernel_init=kernel_init("too_many_names"))

    with mesh, pytest.raises(spmd.RankMismatchError) as info:
        jax.jit(init(net))(KEY, X)
    check(info, "too_many_names")


def test_a_name_that_no_rule_applies_to(enter_mesh, mesh):
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            names = ("bach", "embed")
            fallback = nn.spmd.RulesFallback.RAISE_ERROR
            return nn.with_logical_constraint(x, names, fallback=fallback)

    rules = (("batch", "data"), ("embed", None))
    with (
        enter_mesh(mesh),
        nn.logical_axis_rules(rules),
        pytest.raises(spmd.UnknownAxisError) as info,
    ):
        jax.jit(Layer().apply)({}, X)
    assert info.value.nearest == ("batch",)
    text = str(info.value)
    assert "Axis 'bach' is not among the axes of the logical axis rules" in text
    assert "add a rule to a mesh axis that the other dimensions leave free" in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.with_partitioning(nn.initializers.ones, "model"),
        lambda: nn.with_logical_partitioning(nn.initializers.ones, "hidden"),
        lambda: nn.logical_to_mesh_axes("hidden"),
        lambda: nn.logical_axis_rules((("hidden", "model", "data"),)).__enter__(),
        lambda: nn.logical_to_mesh({"w": ("hidden",)}),
    ],
    ids=["partitioning", "logical_partitioning", "axes", "rules", "no_spec"],
)
def test_what_is_not_of_the_documented_form(make):
    with pytest.raises(spmd.AxisRulesError, match=r"as in|PartitionSpec\("):
        make()

"""What boxes say of their axes, through every lifted transform.

Each transform is tried on both kinds of boxes, in the functional core and in Linen: the
names are right outside (in the variables) and inside (where the layer runs), and the
boxes that come in by `apply` are those that go out.
"""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import apply, errors, init, lift
from batiste.core import nn as core_nn

KEY = jax.random.key(0)
X = jnp.ones((3, 2))
STACKED = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
LAYERS = {nn.PARTITION_NAME: "layers"}
TWO_LOOPS = ({nn.PARTITION_NAME: "stages"}, {nn.PARTITION_NAME: "layers"})

KINDS = {"dense": nn.Partitioned, "logical": nn.LogicallyPartitioned}
BOXED = {
    "dense": nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out")),
    "logical": nn.with_logical_partitioning(
        nn.initializers.lecun_normal(), ("in", "out")
    ),
}


def core_layer(seen):
    """A layer of the functional core with both kinds of boxes; notes what it sees."""

    def layer(scope, x):
        for name, kernel_init in BOXED.items():
            x = core_nn.dense(
                scope.push(name), x, x.shape[-1], bias=False, kernel_init=kernel_init
            )
            seen.append(scope.get_variable("params", name)["kernel"])
        return x

    return layer


def linen_layer(seen):
    """The same layer of Linen."""

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            for name, kernel_init in BOXED.items():
                dense = nn.Dense(x.shape[-1], False, kernel_init=kernel_init, name=name)
                x = dense(x)
                seen.append(self.get_variable("params", name)["kernel"])
            return x

    return Layer


def as_loop_core(layer):
    return lambda scope, x: (layer(scope, x), None)


def as_loop_linen(layer):
    class Loop(layer):
        @nn.compact
        def __call__(self, x):
            return super().__call__(x), None

    return Loop


def run_core(fn):
    def call(scope, x):
        y = fn(scope.push("layer"), x)
        return y[0] if isinstance(y, tuple) else y

    return init(call), apply(call, mutable=True)


def run_linen(fn):
    """`init` and `apply` of a transformed class, or of a function of a module."""

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = fn(name="layer")(x) if isinstance(fn, type) else fn(self, x)
            return y[0] if isinstance(y, tuple) else y

    model = Model()

    def apply_fn(variables, x):
        return model.apply(variables, x, mutable=True)

    return model.init_with_output, apply_fn


FRONTS = {
    "core": (lift, core_layer, as_loop_core, run_core),
    "linen": (nn, linen_layer, as_loop_linen, run_linen),
}
each_front = pytest.mark.parametrize("front", FRONTS)

# For each transform: how to apply it; whether the layer has a carry; the names outside;
# and the shape outside, with 2 features.
TRANSFORMS = {
    "vmap": (
        lambda m, f, p: m.vmap(f, **STACKED, metadata_params=p),
        *(False, ("layers", "in", "out"), (3, 2, 2)),
    ),
    "vmap_last": (
        lambda m, f, p: m.vmap(f, {"params": -1}, {"params": True}, metadata_params=p),
        *(False, ("in", "out", "layers"), (2, 2, 3)),
    ),
    "vmap_shared": (
        lambda m, f, p: m.vmap(f, {"params": None}, {"params": False}),
        *(False, ("in", "out"), (2, 2)),
    ),
    "scan": (
        lambda m, f, p: m.scan(f, **STACKED, length=4, metadata_params=p),
        *(True, ("layers", "in", "out"), (4, 2, 2)),
    ),
    "scan_middle": (
        lambda m, f, p: m.scan(
            *(f, {"params": 1}),
            **{"split_rngs": {"params": True}, "length": 4, "metadata_params": p},
        ),
        *(True, ("in", "layers", "out"), (2, 4, 2)),
    ),
    "scan_broadcast": (
        lambda m, f, p: m.scan(
            f, variable_broadcast="params", split_rngs={"params": False}, length=4
        ),
        *(True, ("in", "out"), (2, 2)),
    ),
    "scan_of_remat": (
        lambda m, f, p: m.scan(
            m.remat(f, prevent_cse=False), **STACKED, length=4, metadata_params=p
        ),
        *(True, ("layers", "in", "out"), (4, 2, 2)),
    ),
    "vmap_of_vmap": (
        lambda m, f, p: m.vmap(
            m.vmap(
                *(f, {"params": 0}, {"params": True}),
                **{"axis_size": 5, "in_axes": None, "metadata_params": p},
            ),
            *({"params": 1}, {"params": True}),
            metadata_params={nn.PARTITION_NAME: "members"},
        ),
        *(False, ("layers", "members", "in", "out"), (5, 3, 2, 2)),
    ),
    "remat_scan": (
        lambda m, f, p: m.remat_scan(f, (2, 3), metadata_params=TWO_LOOPS),
        *(False, ("stages", "layers", "in", "out"), (2, 3, 2, 2)),
    ),
    "add_metadata_axis": (
        lambda m, f, p: m.add_metadata_axis(f, {"params": 0}, p),
        *(False, ("layers", "in", "out"), (2, 2)),
    ),
    "pmap": (
        lambda m, f, p: m.pmap(f, **STACKED, metadata_params=p),
        *(False, ("layers", "in", "out"), (3, 2, 2)),
    ),
    "jit": (lambda m, f, p: m.jit(f), False, ("in", "out"), (2, 2)),
    "remat": (lambda m, f, p: m.remat(f), False, ("in", "out"), (2, 2)),
    "map_variables": (
        lambda m, f, p: m.map_variables(
            f, "params", double, functools.partial(double, by=0.5), mutable=True
        ),
        *(False, ("in", "out"), (2, 2)),
    ),
    "fold_rngs": (lambda m, f, p: m.fold_rngs(f), False, ("in", "out"), (2, 2)),
}


def double(variables, by=2.0):
    return jax.tree.map(lambda x: by * x, variables)


def check_boxes(variables, names, shape):
    """Asserts that a layer's variables are in both kinds of boxes, with these names."""
    found = boxes(variables)
    assert list(map(type, found)) == list(KINDS.values())
    assert {box.names for box in found} == {names}
    assert {box.value.shape for box in found} == {shape}


def check_seen(seen):
    """Asserts that the layer saw boxes without any axis of a transform."""
    assert {type(box) for box in seen} == set(KINDS.values())
    assert {box.names for box in seen} == {("in", "out")}
    seen.clear()


def boxes(variables):
    leaves = jax.tree.leaves(variables, is_leaf=lambda x: isinstance(x, nn.Partitioned))
    return [leaf for leaf in leaves if isinstance(leaf, nn.Partitioned)]


@each_front
@pytest.mark.parametrize("name", TRANSFORMS)
def test_boxes_gain_and_lose_axes(name, front):
    module, make, as_loop, run = FRONTS[front]
    transform, is_loop, outside, shape = TRANSFORMS[name]
    seen = []
    layer = make(seen)
    init_fn, apply_fn = run(
        transform(module, as_loop(layer) if is_loop else layer, LAYERS)
    )
    y, variables = init_fn(KEY, X)
    check_boxes(variables, outside, shape)
    check_seen(seen)
    again, updated = apply_fn(variables, X)
    check_boxes(updated, outside, shape)
    check_seen(seen)
    np.testing.assert_allclose(again, y, rtol=1e-5)
    for before, after in zip(boxes(variables), boxes(updated)):
        np.testing.assert_array_equal(before.value, after.value)


NAMED = [
    name
    for name, (_, _, names, _) in TRANSFORMS.items()
    if "layers" in names and name != "remat_scan"
]


@each_front
@pytest.mark.parametrize("name", NAMED)
def test_an_axis_without_a_name_is_an_error(name, front):
    module, make, as_loop, run = FRONTS[front]
    transform, is_loop, *_ = TRANSFORMS[name]
    layer = make([])
    if is_loop:
        layer = as_loop(layer)
    init_fn, _ = run(transform(module, layer, {}))
    with pytest.raises(errors.PartitioningUnspecifiedError) as info:
        init_fn(KEY, X)
    assert info.value.path == "params/layer/dense/kernel"
    text = str(info.value)
    assert text.startswith('In "params/layer/dense/kernel": A transform adds')
    assert "metadata_params={'partition_name': 'layers'}" in text

    # Neither can the axis be taken away without its name, or under another.
    init_fn, _ = run(transform(module, layer, LAYERS))
    variables = init_fn(KEY, X)[1]
    _, apply_fn = run(transform(module, layer, {}))
    with pytest.raises(errors.PartitioningUnspecifiedError) as info:
        apply_fn(variables, X)
    assert info.value.path == "params/layer/dense/kernel"
    _, apply_fn = run(transform(module, layer, {nn.PARTITION_NAME: "layer"}))
    with pytest.raises(errors.AxisMetadataError, match="'layers'") as info:
        apply_fn(variables, X)
    assert info.value.path == "params/layer/dense/kernel"


@each_front
def test_remat_scan_without_names_is_an_error(front):
    module, make, _, run = FRONTS[front]
    init_fn, _ = run(module.remat_scan(make([]), (2, 3)))
    with pytest.raises(errors.PartitioningUnspecifiedError) as info:
        init_fn(KEY, X)
    assert info.value.path == "params/layer/dense/kernel"


@each_front
def test_variables_without_boxes_need_no_name(front):
    module, _, _, run = FRONTS[front]

    def core(scope, x):
        return core_nn.dense(scope, x, 2)

    layer = core if front == "core" else functools.partial(nn.Dense, 2)
    if front == "linen":

        class layer(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dense(2)(x)

    init_fn, apply_fn = run(module.vmap(layer, **STACKED))
    y, variables = init_fn(KEY, X)
    np.testing.assert_allclose(apply_fn(variables, X)[0], y, rtol=1e-6)
    assert not boxes(variables)


@each_front
def test_an_axis_may_be_named_none(front):
    module, make, as_loop, run = FRONTS[front]
    layer = as_loop(make([]))
    unnamed = {nn.PARTITION_NAME: None}
    init_fn, apply_fn = run(
        module.scan(layer, **STACKED, length=2, metadata_params=unnamed)
    )
    _, variables = init_fn(KEY, X)
    assert boxes(variables)[0].names == (None, "in", "out")
    assert apply_fn(variables, X)[0].shape == X.shape


# The transforms that take a module and its arguments, not a class.


def branches(mdl, x):
    def true_fn(mdl, x):
        return mdl(x)

    def false_fn(mdl, x):
        return 2 * mdl(x)

    mdl(x)  # Variables cannot be made in only one of the branches.
    return nn.cond(x.sum() > 0, true_fn, false_fn, mdl, x)


def switches(mdl, x):
    mdl(x)
    same = [lambda mdl, x: mdl(x), lambda mdl, x: -mdl(x)]
    return nn.switch(x.sum().astype(int) % 2, same, mdl, x)


def loops(mdl, x):
    y = mdl(x)
    counted = nn.while_loop(
        lambda mdl, c: c[0] < 2, lambda mdl, c: (c[0] + 1, mdl(c[1])), mdl, (0, x)
    )
    return y + counted[1]


def gradients(mdl, x):
    y, (x_bar,) = nn.value_and_grad(lambda mdl, x: mdl(x).sum(), mdl, x)
    return y + x_bar


def vjps(mdl, x):
    y, vjp_fn = nn.vjp(lambda mdl, x: mdl(x), mdl, x)
    variables_bar, x_bar = vjp_fn(y)
    check_boxes(variables_bar, ("in", "out"), (2, 2))
    return x_bar


def jvps(mdl, x):
    tangents = {"params": jax.tree.map(jnp.ones_like, mdl.variables["params"])}
    y, y_dot = nn.jvp(lambda mdl, x: mdl(x), mdl, (x,), (jnp.ones_like(x),), tangents)
    return y + y_dot


def custom_vjps(mdl, x):
    def forward(mdl, x):
        return nn.vjp(lambda mdl, x: mdl(x), mdl, x)

    def backward(vjp_fn, y_bar):
        variables_bar, x_bar = vjp_fn(y_bar)
        check_boxes(variables_bar, ("in", "out"), (2, 2))
        return jax.tree.map(jnp.sign, variables_bar), x_bar

    return nn.custom_vjp(lambda mdl, x: mdl(x), forward, backward)(mdl, x)


@pytest.mark.parametrize(
    "call",
    [branches, switches, loops, gradients, vjps, jvps, custom_vjps],
    ids=lambda call: call.__name__,
)
def test_boxes_pass_through(call):
    seen = []
    layer = linen_layer(seen)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            mdl = layer(name="layer")
            return mdl(x) if self.is_initializing() else call(mdl, x)

    variables = Model().init(KEY, X)
    check_boxes(variables, ("in", "out"), (2, 2))
    check_seen(seen)
    y, updated = Model().apply(variables, X, mutable=["params"])
    check_boxes(updated, ("in", "out"), (2, 2))
    check_seen(seen)
    assert y.shape == X.shape
    if call is not loops:  # JAX does not transpose `while_loop`.
        grads = jax.grad(lambda v: Model().apply(v, X).sum())(variables)
        check_boxes(grads, ("in", "out"), (2, 2))


def test_collections_have_axes_of_their_own():
    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            init_fn = nn.with_partitioning(nn.initializers.zeros, ("features",))
            mean = self.variable("stats", "mean", init_fn, None, (x.shape[-1],))
            scale = self.param("scale", init_fn, (x.shape[-1],))
            mean.value = mean.value + x.mean(0) if x.ndim > 1 else mean.value + x
            return x * scale, None

    scanned = nn.scan(
        Norm,
        variable_axes={"params": 1},
        variable_carry="stats",
        split_rngs={"params": True},
        length=3,
        metadata_params=LAYERS,
    )
    variables = scanned().init(KEY, X)
    assert variables["params"]["scale"].names == ("features", "layers")
    assert variables["stats"]["mean"].names == ("features",)
    mapped = nn.vmap(
        Norm,
        variable_axes={"params": None, "stats": -1},
        split_rngs={"params": False},
        metadata_params={nn.PARTITION_NAME: "batch"},
    )
    variables = mapped().init(KEY, X)
    assert variables["params"]["scale"].names == ("features",)
    assert variables["stats"]["mean"].names == ("features", "batch")
    assert variables["stats"]["mean"].value.shape == (2, 3)


def test_the_names_of_all_axes_make_a_layout(mesh):
    """What the transforms say is what `get_sharding` needs."""

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(8, False, kernel_init=BOXED["logical"])(x)

    experts = nn.vmap(Layer, **STACKED, metadata_params={nn.PARTITION_NAME: "expert"})
    stack = nn.remat_scan(experts, (2, 3), metadata_params=TWO_LOOPS)
    x = jnp.ones((4, 8))
    abstract = jax.eval_shape(stack().init, KEY, x)
    with nn.logical_axis_rules((("expert", "model"), ("in", "data"))):
        sharding = nn.get_sharding(abstract, mesh)
        variables = jax.jit(stack().init, out_shardings=sharding)(KEY, x)
    (kernel,) = boxes(variables)
    assert kernel.names == ("stages", "layers", "expert", "in", "out")
    assert kernel.value.addressable_shards[0].data.shape == (2, 3, 1, 4, 8)

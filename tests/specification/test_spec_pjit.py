"""The programs of "Scale up Flax Modules on multiple devices with pjit".

pjit is jax.jit today: `in_axis_resources` are `in_shardings`, and a `PartitionSpec`
becomes a `NamedSharding` on the mesh. The depth is 64 instead of 1024.
"""

import functools

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from jax import random
from jax.lax import with_sharding_constraint
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste import linen as nn
from batiste.core import FrozenDict
from batiste.linen import spmd
from batiste.training import train_state

BATCH, LAYERS, DEPTH, USE_SCAN = 8, 4, 64, True


@pytest.fixture
def mesh(eight_devices):
    return Mesh(np.asarray(eight_devices).reshape(2, 4), ("data", "model"))


class DotReluDot(nn.Module):
    depth: int

    @nn.compact
    def __call__(self, x):
        W1 = self.param(
            "W1",
            nn.with_partitioning(nn.initializers.xavier_normal(), (None, "model")),
            (x.shape[-1], self.depth),
        )
        y = jax.nn.relu(jnp.dot(x, W1))
        y = with_sharding_constraint(y, PartitionSpec("data", "model"))
        W2 = self.param(
            "W2",
            nn.with_partitioning(nn.initializers.xavier_normal(), ("model", None)),
            (self.depth, x.shape[-1]),
        )
        z = jnp.dot(y, W2)
        z = with_sharding_constraint(z, PartitionSpec("data", None))
        return z, None


class MLP(nn.Module):
    num_layers: int
    depth: int
    use_scan: bool

    @nn.compact
    def __call__(self, x):
        if self.use_scan:
            x, _ = nn.scan(
                DotReluDot,
                length=self.num_layers,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                metadata_params={nn.PARTITION_NAME: None},
            )(self.depth)(x)
        else:
            for _ in range(self.num_layers):
                x, _ = DotReluDot(self.depth)(x)
        return x


class LogicalDotReluDot(nn.Module):
    depth: int

    @nn.compact
    def __call__(self, x):
        W1 = self.param(
            "W1",
            spmd.with_logical_partitioning(
                nn.initializers.xavier_normal(), ("embed", "hidden")
            ),
            (x.shape[-1], self.depth),
        )
        y = jax.nn.relu(jnp.dot(x, W1))
        y = spmd.with_logical_constraint(y, ("batch", "hidden"))
        W2 = self.param(
            "W2",
            spmd.with_logical_partitioning(
                nn.initializers.xavier_normal(), ("hidden", "embed")
            ),
            (self.depth, x.shape[-1]),
        )
        z = jnp.dot(y, W2)
        z = spmd.with_logical_constraint(z, ("batch", "embed"))
        return z, None


class LogicalMLP(nn.Module):
    num_layers: int
    depth: int
    use_scan: bool

    @nn.compact
    def __call__(self, x):
        if self.use_scan:
            x, _ = nn.scan(
                LogicalDotReluDot,
                length=self.num_layers,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                metadata_params={nn.PARTITION_NAME: "layer"},
            )(self.depth)(x)
        else:
            for _ in range(self.num_layers):
                x, _ = LogicalDotReluDot(self.depth)(x)
        return x


def init_fn(k, x, model, optimizer):
    variables = model.init(k, x)
    return train_state.TrainState.create(
        apply_fn=model.apply, params=variables["params"], tx=optimizer
    )


def abstract_state(model, optimizer, mesh):
    k, x = random.PRNGKey(0), jnp.ones((BATCH, DEPTH))
    with mesh:
        return jax.eval_shape(
            functools.partial(init_fn, model=model, optimizer=optimizer), k, x
        )


def on_mesh(mesh, spec):
    return jax.tree.map(
        lambda s: NamedSharding(mesh, s),
        spec,
        is_leaf=lambda s: isinstance(s, PartitionSpec),
    )


def initialize(model, optimizer, state_spec, mesh):
    x_spec = PartitionSpec("data", None)
    pjit_init_fn = jax.jit(
        init_fn,
        static_argnums=(2, 3),
        in_shardings=on_mesh(mesh, (PartitionSpec(None), x_spec)),
        out_shardings=on_mesh(mesh, state_spec),
    )
    x = jax.device_put(jnp.ones((BATCH, DEPTH)), NamedSharding(mesh, x_spec))
    with mesh:
        return pjit_init_fn(random.PRNGKey(0), x, model, optimizer), x


SPECS = {
    "W1": PartitionSpec(None, None, "model"),
    "W2": PartitionSpec(None, "model", None),
}


def test_the_mesh(mesh):
    assert PartitionSpec("data", None) == PartitionSpec("data", None)
    ids = [[d.id for d in row] for row in mesh.devices]
    assert ids == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert mesh.axis_names == ("data", "model")


def test_specs_of_an_abstract_state(mesh):
    model, optimizer = MLP(LAYERS, DEPTH, USE_SCAN), optax.adam(learning_rate=0.001)
    state_spec = nn.get_partition_spec(abstract_state(model, optimizer, mesh))
    assert state_spec.step == PartitionSpec()
    assert state_spec.params == {"ScanDotReluDot_0": SPECS}
    adam = state_spec.opt_state[0]
    assert adam.count == PartitionSpec()
    assert adam.mu == adam.nu == {"ScanDotReluDot_0": SPECS}
    # JAX abbreviates the name of a PartitionSpec today.
    assert repr(state_spec.params) == (
        "FrozenDict({\n"
        "    ScanDotReluDot_0: {\n"
        f"        W1: {SPECS['W1']!r},\n"
        f"        W2: {SPECS['W2']!r},\n"
        "    },\n"
        "})"
    )
    assert repr(state_spec).startswith(
        f"TrainState(step={PartitionSpec()!r}, "
        "apply_fn=<bound method Module.apply of MLP(\n"
        "    # attributes\n"
        "    num_layers = 4\n"
        "    depth = 64\n"
        "    use_scan = True\n"
        ")>, params=FrozenDict({\n"
    )


def test_initialization_training_and_inference(mesh):
    model, optimizer = MLP(LAYERS, DEPTH, USE_SCAN), optax.adam(learning_rate=0.001)
    state_spec = nn.get_partition_spec(abstract_state(model, optimizer, mesh))
    initialized_state, x = initialize(model, optimizer, state_spec, mesh)

    shapes = jax.tree.map(jnp.shape, initialized_state.params)
    names = {"W1": (None, None, "model"), "W2": (None, "model", None)}
    for name, box in shapes["ScanDotReluDot_0"].items():
        assert isinstance(box, nn.Partitioned)
        assert box.value == (LAYERS, DEPTH, DEPTH)
        assert box.names == names[name]
        assert box.mesh is None
    W1 = initialized_state.params["ScanDotReluDot_0"]["W1"]
    assert isinstance(W1, nn.Partitioned)
    assert isinstance(W1.value, jax.Array)
    assert W1.value.sharding == NamedSharding(mesh, SPECS["W1"])

    # Arithmetic on boxes is arithmetic on what is in them.
    layer = initialized_state.params["ScanDotReluDot_0"]
    diff = jax.tree.map(lambda a, b: a - b, layer, layer)
    assert isinstance(diff, FrozenDict)
    assert isinstance(diff["W1"], nn.Partitioned)
    with mesh:
        diff_array = diff["W1"].unbox()
    assert diff_array.shape == (LAYERS, DEPTH, DEPTH)
    assert not np.any(diff_array)

    def train_step(state, x):
        def loss_unrolled(params):
            y = model.apply({"params": params}, x)
            return y.sum()

        grads = jax.grad(loss_unrolled)(state.params)
        return state.apply_gradients(grads=grads)

    shardings = on_mesh(mesh, state_spec)
    x_sharding = NamedSharding(mesh, PartitionSpec("data", None))
    pjitted_train_step = jax.jit(
        train_step, in_shardings=(shardings, x_sharding), out_shardings=shardings
    )
    with mesh:
        new_state = pjitted_train_step(initialized_state, x)
    assert new_state.step == 1

    @functools.partial(
        jax.jit, in_shardings=(shardings, x_sharding), out_shardings=x_sharding
    )
    def pjit_apply_fn(state, x):
        return state.apply_fn({"params": state.params}, x)

    with mesh:
        y = pjit_apply_fn(new_state, x)
        before = pjit_apply_fn(initialized_state, x)
    assert y.dtype == jnp.float32
    assert y.shape == (BATCH, DEPTH)
    assert y.sharding == x_sharding
    assert y.sum() < before.sum()


def test_a_loop_in_place_of_scan(mesh):
    model, optimizer = MLP(2, DEPTH, False), optax.adam(learning_rate=0.001)
    state_spec = nn.get_partition_spec(abstract_state(model, optimizer, mesh))
    layer = {"W1": PartitionSpec(None, "model"), "W2": PartitionSpec("model", None)}
    assert state_spec.params == {"DotReluDot_0": layer, "DotReluDot_1": layer}


def test_logical_axes(mesh):
    model, optimizer = MLP(LAYERS, DEPTH, USE_SCAN), optax.adam(learning_rate=0.001)
    state_spec = nn.get_partition_spec(abstract_state(model, optimizer, mesh))
    logical_model = LogicalMLP(LAYERS, DEPTH, USE_SCAN)
    logical_abstract_variables = abstract_state(logical_model, optimizer, mesh)
    logical_output_spec = nn.get_partition_spec(logical_abstract_variables)
    assert logical_output_spec.params == {
        "ScanLogicalDotReluDot_0": {
            "W1": PartitionSpec("layer", "embed", "hidden"),
            "W2": PartitionSpec("layer", "hidden", "embed"),
        }
    }
    rules = (("batch", "data"), ("hidden", "model"))
    logical_state_spec = spmd.logical_to_mesh(logical_output_spec, rules)
    assert logical_state_spec.params == {"ScanLogicalDotReluDot_0": SPECS}
    assert logical_state_spec.opt_state[0].mu == logical_state_spec.params
    assert (
        state_spec.params["ScanDotReluDot_0"]
        == logical_state_spec.params["ScanLogicalDotReluDot_0"]
    )

    state, _ = initialize(logical_model, optimizer, logical_state_spec, mesh)
    shapes = jax.tree.map(jnp.shape, state.params)["ScanLogicalDotReluDot_0"]
    assert repr(shapes["W1"]) == (
        f"LogicallyPartitioned(value=(4, {DEPTH}, {DEPTH}), "
        "names=('layer', 'embed', 'hidden'), mesh=None, rules=None)"
    )
    assert shapes["W2"].names == ("layer", "hidden", "embed")
    # Same keys, same parameters, whatever the axes are called.
    plain, _ = initialize(model, optimizer, state_spec, mesh)
    W1 = state.params["ScanLogicalDotReluDot_0"]["W1"].value
    assert W1.sharding == NamedSharding(mesh, SPECS["W1"])
    assert W1.shape == plain.params["ScanDotReluDot_0"]["W1"].value.shape


def test_the_partitioned_page(mesh):
    """The API page's MLP, its specs, and the scan that names the new axis."""

    class MLP(nn.Module):
        hidden_size: int

        @nn.compact
        def __call__(self, x):
            ki = nn.linear.default_kernel_init
            h = nn.Dense(
                self.hidden_size,
                kernel_init=nn.with_partitioning(ki, ("data", "model")),
            )(x)
            h = nn.relu(h)
            return nn.Dense(
                x.shape[-1], kernel_init=nn.with_partitioning(ki, ("model", "data"))
            )(h)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            def body(mdl, c):
                c = MLP(64)(c)
                return c, ()

            c, _ = nn.scan(
                body,
                variable_axes={"params": 0},
                split_rngs={"params": 0},
                length=8,
                metadata_params={nn.meta.PARTITION_NAME: "layers"},
            )(self, x)
            return c

    mlp = MLP(64)
    x = jnp.ones((16, 32))
    var_spec = nn.get_partition_spec(jax.eval_shape(mlp.init, random.PRNGKey(0), x))
    assert var_spec["params"] == {
        "Dense_0": {"bias": PartitionSpec(), "kernel": PartitionSpec("data", "model")},
        "Dense_1": {"bias": PartitionSpec(), "kernel": PartitionSpec("model", "data")},
    }
    shardings = on_mesh(mesh, var_spec)
    x_sharding = NamedSharding(mesh, PartitionSpec("data", "model"))
    x = jax.device_put(x, x_sharding)
    with mesh:
        init_fn = jax.jit(mlp.init, out_shardings=shardings)
        variables = init_fn(random.PRNGKey(0), x)
        apply_fn = jax.jit(
            mlp.apply, in_shardings=(shardings, x_sharding), out_shardings=x_sharding
        )
        y = apply_fn(variables, x)
    assert y.shape == x.shape
    assert y.sharding == x_sharding
    kernel = variables["params"]["Dense_0"]["kernel"]
    assert kernel.value.sharding.spec == PartitionSpec("data", "model")

    spec = nn.get_partition_spec(jax.eval_shape(Model().init, random.PRNGKey(0), x))
    assert spec["params"]["MLP_0"]["Dense_0"]["kernel"] == PartitionSpec(
        "layers", "data", "model"
    )


def test_initializers_with_names():
    features = 3
    for wrap in (nn.with_partitioning, nn.with_logical_partitioning):
        # The pages pass `lecun_normal` where they mean `lecun_normal()`.
        kernel_init = wrap(nn.initializers.lecun_normal(), (None, "data"))
        partitioned_dense = nn.Dense(features, kernel_init=kernel_init)
        variables = partitioned_dense.init(random.PRNGKey(0), jnp.ones((1, 2)))
        kernel = variables["params"]["kernel"]
        assert isinstance(kernel, nn.Partitioned)
        assert kernel.names == (None, "data")
        plain = nn.Dense(features).init(random.PRNGKey(0), jnp.ones((1, 2)))
        np.testing.assert_array_equal(kernel.value, plain["params"]["kernel"])


def test_rules_for_mesh_axes():
    array_dim_names = ("batch", "length", "heads", "features")
    rules = (("batch", "X"), ("features", "X"), ("heads", "Y"), ("batch", "Z"))
    expected = PartitionSpec("X", None, "Y", None)
    assert nn.logical_to_mesh_axes(array_dim_names, rules) == expected
    with nn.logical_axis_rules(rules):
        assert nn.logical_to_mesh_axes(array_dim_names) == expected
        assert tuple(nn.get_logical_axis_rules()) == rules

"""The programs of the API pages of config, struct, traversals, training and devices."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from jax import random

from batiste import linen as nn
from batiste import traverse
from batiste.core import config, freeze, struct
from batiste.core.frozen_dict import FrozenDict, copy, pop
from batiste.training import checkpoints, lr_schedule
from batiste.training.early_stopping import EarlyStopping
from batiste.training.jax_utils import pad_shard_unpad
from batiste.training.train_state import TrainState


def test_config():
    assert config.flax_return_frozendict is True
    x = jnp.ones((1, 2))
    config.update("flax_return_frozendict", False)
    try:
        variables = nn.Dense(1).init(random.PRNGKey(0), x)
        assert type(variables) is dict
        assert type(variables["params"]) is dict
    finally:
        config.update("flax_return_frozendict", True)
    assert isinstance(nn.Dense(1).init(random.PRNGKey(0), x), FrozenDict)


def test_frozen_dicts():
    for variables in ({"params": {"a": 1}, "state": 2}, freeze({"params": {"a": 1}})):
        if isinstance(variables, FrozenDict):
            state, params = variables.pop("params")
            assert params == {"a": 1}
            assert "params" not in state
        new_variables = copy(variables, {"additional_entries": 1})
        assert type(new_variables) is type(variables)
        assert new_variables["additional_entries"] == 1
        state, params = pop(variables, "params")
        assert "params" not in state
        assert params["a"] == 1
        assert "additional_entries" not in variables
        assert "params" in variables


class DataclassAsClass(struct.PyTreeNode):
    params: Any
    apply_fn: Callable = struct.field(pytree_node=False)

    def __apply__(self, *args):
        return self.apply_fn(*args)


@struct.dataclass
class DataclassByDecorator:
    params: Any
    apply_fn: Callable = struct.field(pytree_node=False)

    def __apply__(self, *args):
        return self.apply_fn(*args)


@pytest.mark.parametrize("Model", [DataclassAsClass, DataclassByDecorator])
def test_struct(Model):
    def apply_fn(x):
        return 2 * x

    params, params_b = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    model = Model(params, apply_fn)
    assert model.__apply__(3) == 6
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.params = params_b
    model_b = model.replace(params=params_b)
    np.testing.assert_array_equal(model_b.params, params_b)
    np.testing.assert_array_equal(model.params, params)

    def some_loss_fn(model):
        return (model.params**2).sum()

    model_grad = jax.grad(some_loss_fn)(model)
    assert isinstance(model_grad, Model)
    assert model_grad.apply_fn is apply_fn
    np.testing.assert_array_equal(model_grad.params, 2 * params)


def test_struct_with_a_constructor():
    @struct.dataclass
    class DirectionAndScaleKernel:
        direction: jax.Array
        scale: jax.Array

        @classmethod
        def create(cls, kernel):
            scale = jax.numpy.linalg.norm(kernel, axis=0, keepdims=True)
            direction = kernel / scale
            return cls(direction, scale)

    kernel = jnp.array([[3.0, 0.0], [4.0, 2.0]])
    split = DirectionAndScaleKernel.create(kernel)
    np.testing.assert_allclose(split.scale, [[5.0, 2.0]])
    np.testing.assert_allclose(split.direction * split.scale, kernel)
    assert len(jax.tree.leaves(split)) == 2


@dataclasses.dataclass(frozen=True)
class Foo:
    foo: int = 0
    bar: int = 0


def test_traversals():
    assert list(traverse.TraverseAttr("foo").iterate(Foo(foo=1))) == [1]
    data = [{"foo": 1, "bar": 2}, {"foo": 3, "bar": 4}]
    traversal = traverse.t_identity.each()["foo"]
    assert list(traversal.iterate(data)) == [1, 3]
    data = {"foo": Foo(bar=2)}
    traversal = traverse.t_identity["foo"].bar
    assert traversal.update(lambda x: x + x, data) == {"foo": Foo(bar=4)}
    assert data == {"foo": Foo(bar=2)}


def test_flat_dictionaries():
    xs = {"foo": 1, "bar": {"a": 2, "b": {}}}
    flat_xs = traverse.flatten_dict(xs)
    assert str(flat_xs) == "{('foo',): 1, ('bar', 'a'): 2}"
    assert traverse.unflatten_dict(flat_xs) == {"foo": 1, "bar": {"a": 2}}
    params = {"a": {"x": 10, "y": 3}, "b": {"x": 20}}
    mapped = traverse.path_aware_map(
        lambda path, x: x + 5 if "x" in path else -x, params
    )
    assert mapped == {"a": {"x": 15, "y": -3}, "b": {"x": 25}}


def test_pre_linen_parameters():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            # `nn.Conv(1, 1)` on the page; a kernel's size is a sequence.
            x = nn.Conv(1, (1,))(x)
            return nn.Dense(1)(x)

    variables = Model().init(random.PRNGKey(0), jnp.ones((1, 4, 1)))
    params = variables["params"]
    pre_linen_params = {"Conv_0": params["Conv_0"], "Dense_1": params["Dense_0"]}
    converted = checkpoints.convert_pre_linen(pre_linen_params)
    assert sorted(converted) == ["Conv_0", "Dense_0"]
    again = checkpoints.convert_pre_linen(converted)
    assert sorted(again) == ["Conv_0", "Dense_0"]
    assert Model().apply({"params": converted}, jnp.ones((1, 4, 1))).shape == (1, 4, 1)


def test_learning_rate_schedules():
    schedule = lr_schedule.create_stepped_learning_rate_schedule(
        0.1, 10, [[30, 0.1], [60, 0.01], [80, 0.001]], warmup_length=5
    )
    at = {epoch: float(schedule(10 * epoch)) for epoch in (0, 2.5, 5, 29, 31, 61, 81)}
    assert at == pytest.approx(
        {0: 0.0, 2.5: 0.05, 5: 0.1, 29: 0.1, 31: 0.01, 61: 1e-3, 81: 1e-4}, rel=1e-5
    )
    constant = lr_schedule.create_constant_learning_rate_schedule(0.1, 10)
    assert float(constant(7)) == pytest.approx(0.1)
    cosine = lr_schedule.create_cosine_learning_rate_schedule(0.1, 10, 4)
    assert float(cosine(0)) == pytest.approx(0.1)
    assert float(cosine(20)) == pytest.approx(0.05)
    assert float(cosine(40)) == pytest.approx(0.0, abs=1e-8)


def test_train_state():
    model = nn.Dense(1)
    x = random.normal(random.PRNGKey(1), (8, 3))
    variables = model.init(random.PRNGKey(0), x)
    state = TrainState.create(
        apply_fn=model.apply, params=variables["params"], tx=optax.sgd(0.1)
    )

    def make_loss_fn(apply_fn):
        return lambda params, batch: (apply_fn({"params": params}, batch) ** 2).mean()

    loss_fn = make_loss_fn(state.apply_fn)
    grad_fn = jax.grad(loss_fn)
    losses = [float(loss_fn(state.params, x))]
    for batch in (x, x):
        grads = grad_fn(state.params, batch)
        state = state.apply_gradients(grads=grads)
        losses.append(float(loss_fn(state.params, x)))
    assert state.step == 2
    assert losses == sorted(losses, reverse=True)


def test_early_stopping():
    early_stop = EarlyStopping(min_delta=1e-3, patience=2)
    stopped = None
    losses = [1.0, 0.5, 0.4999, 0.4998, 0.4997, 0.1]
    for epoch, loss in enumerate(losses, start=1):
        # The page's program passes on what `update` returns: a pair.
        improved, early_stop = early_stop.update(loss)
        assert improved == (epoch <= 2)
        if early_stop.should_stop:
            stopped = epoch
            break
    # Two epochs without improvement are borne with, the third ends the training.
    assert stopped == 5


def test_pad_shard_unpad(eight_devices):
    @pad_shard_unpad
    @jax.pmap
    def forward(params, x):
        return params * x

    d = jax.local_device_count()
    y = forward(jnp.full((d,), 2.0), np.arange(13.0))
    np.testing.assert_array_equal(y, 2 * np.arange(13.0))


# The arguments of the functions whose signatures the pages print, and plain defaults.
SIGNATURES = [
    (nn.Module.init, "rngs, *, method=None, capture_intermediates=False"),
    (
        nn.Module.apply,
        "variables, *, rngs=None, method=None, mutable=False, "
        "capture_intermediates=False",
    ),
    (nn.Module.bind, "variables, *, rngs=None, mutable=False"),
    (
        nn.Module.tabulate,
        "rngs, *, depth=None, show_repeated=False, mutable, console_kwargs=None",
    ),
    (nn.apply, "fn, module, mutable=False, capture_intermediates=False"),
    (nn.init, "fn, module, mutable, capture_intermediates=False"),
    (nn.init_with_output, "fn, module, mutable, capture_intermediates=False"),
    (
        nn.tabulate,
        "module, rngs, depth=None, show_repeated=False, mutable, console_kwargs=None",
    ),
    (
        nn.vmap,
        "target, variable_axes={}, split_rngs={}, in_axes=0, out_axes=0, "
        "axis_size=None, axis_name=None, spmd_axis_name=None, metadata_params={}, "
        "methods=None",
    ),
    (
        nn.scan,
        "target, variable_axes={}, variable_broadcast=False, variable_carry=False, "
        "split_rngs={}, in_axes=0, out_axes=0, length=None, reverse=False, unroll=1, "
        "data_transform=None, metadata_params={}, methods=None",
    ),
    (
        nn.jit,
        "target, variables=True, rngs=True, static_argnums=(), donate_argnums=(), "
        "device=None, backend=None, methods=None",
    ),
    (
        nn.remat,
        "target, variables=True, rngs=True, concrete=False, prevent_cse=True, "
        "static_argnums=(), policy=None, methods=None",
    ),
    (
        nn.remat_scan,
        "target, lengths=(), policy=None, variable_broadcast=False, "
        "variable_carry=False, variable_axes={True: 0}, split_rngs={True: True}",
    ),
    (
        nn.map_variables,
        "target, mapped_collections=True, trans_in_fn, trans_out_fn, init=False, "
        "mutable=False, rngs=True, variables=True, methods=None",
    ),
    (
        nn.while_loop,
        "cond_fn, body_fn, mdl, init, carry_variables=False, "
        "broadcast_variables=True, split_rngs={}",
    ),
    (
        checkpoints.restore_checkpoint,
        "ckpt_dir, target, step=None, prefix='checkpoint_', parallel=True, "
        "gda_manager=None, allow_partial_mpa_restoration=False",
    ),
    (checkpoints.latest_checkpoint, "ckpt_dir, prefix='checkpoint_'"),
    (
        lr_schedule.create_constant_learning_rate_schedule,
        "base_learning_rate, steps_per_epoch, warmup_length=0.0",
    ),
    (
        lr_schedule.create_stepped_learning_rate_schedule,
        "base_learning_rate, steps_per_epoch, lr_sched_steps, warmup_length=0.0",
    ),
    (
        lr_schedule.create_cosine_learning_rate_schedule,
        "base_learning_rate, steps_per_epoch, halfcos_epochs, warmup_length=0.0",
    ),
    (
        EarlyStopping,
        "min_delta=0, patience=0, best_metric=float('inf'), patience_count=0, "
        "should_stop=False",
    ),
]


@pytest.mark.parametrize(
    ("function", "documented"),
    SIGNATURES,
    ids=[function.__qualname__ for function, _ in SIGNATURES],
)
def test_signatures(function, documented):
    """Each argument is there, with its default; later releases have added others."""
    parameters = inspect.signature(function).parameters
    for part in documented.split(", "):
        name, equals, default = part.partition("=")
        if name == "*":
            continue
        assert name in parameters, name
        if equals:
            assert parameters[name].default == eval(default), name

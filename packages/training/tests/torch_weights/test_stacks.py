"""Axes that transforms give to variables."""

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.training.torch_weights.linen_units import read_model
from batiste.training.torch_weights.stacks import Stack, find_stacks

from .cases import Layer, Members, scanned
from .cases import Stack as Layers

X = jnp.ones((2, 5, 4))


def _stacks(model, *inputs):
    return read_model(model, inputs or (X,), None, {}).stacks


def test_each_collection_has_its_axis():
    found = _stacks(Layers(scanned(Layer, 6, params=-1, batch_stats=1)))
    assert set(found) == {
        ("params", "layers", "scale"),
        ("params", "layers", "fc", "kernel"),
        ("params", "layers", "fc", "bias"),
        ("params", "layers", "bn", "scale"),
        ("params", "layers", "bn", "bias"),
        ("batch_stats", "layers", "bn", "mean"),
        ("batch_stats", "layers", "bn", "var"),
    }
    assert {each[0].transform for each in found.values()} == {0}
    assert found["params", "layers", "fc", "kernel"] == (Stack(2, 6, 0),)
    assert found["batch_stats", "layers", "bn", "mean"] == (Stack(1, 6, 0),)


def test_the_outermost_comes_first():
    found = _stacks(Layers(scanned(scanned(Layer, 2, params=1), 3, params=2)))
    # The inner axis is counted in what is left by the outer one.
    assert [(s.axis, s.size) for s in found["params", "layers", "fc", "kernel"]] == [
        (2, 3),
        (1, 2),
    ]
    assert [(s.axis, s.size) for s in found["batch_stats", "layers", "bn", "mean"]] == [
        (0, 3),
        (1, 2),
    ]


def test_which_transform_it_is_is_told():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x, _ = scanned(Layer, 2)(name="a")(x, None)
            x, _ = scanned(Layer, 2)(name="b")(x, None)
            return nn.Dense(3, name="c")(x)

    found = _stacks(Model())
    assert len({each[0].transform for each in found.values()}) == 2
    a, b = found["params", "a", "scale"], found["params", "b", "scale"]
    assert a[0].transform == found["batch_stats", "a", "bn", "mean"][0].transform
    assert a[0].transform < b[0].transform
    assert not any(key[1] == "c" for key in found)


def test_what_a_vmap_stacks_has_no_direction():
    found = _stacks(Members())
    assert [s.axis for s in found["params", "members", "fc", "kernel"]] == [1]
    assert [s.axis for s in found["batch_stats", "members", "bn", "var"]] == [0]
    assert not any(stack.backward for each in found.values() for stack in each)


@pytest.mark.parametrize(
    ("outer", "inner"), [(True, False), (False, True), (True, True)]
)
def test_loops_from_the_end_are_told_within_others(outer, inner):
    cls = scanned(scanned(Layer, 2, reverse=inner), 3, reverse=outer)
    for stacks in _stacks(Layers(cls)).values():
        assert [stack.backward for stack in stacks] == [outer, inner]


def test_a_loop_from_the_end_within_a_vmap_cannot_be_told():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            cls = nn.vmap(
                scanned(Layer, 2, reverse=True),
                variable_axes={"params": 0, "batch_stats": 0},
                split_rngs={"params": True},
                in_axes=(None, None),
                axis_size=3,
            )
            return cls(name="both")(x, None)[0]

    assert _stacks(Model()) == {}


def test_loops_around_and_within_compiled_functions_are_found():
    cls = scanned(nn.remat(nn.jit(Layer)), 3, reverse=True)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.jit(Layers)(cls, name="stack")(x)

    found = _stacks(Model())
    assert len(found) == 7
    assert all(stacks[0].backward for stacks in found.values())


def test_a_loop_over_time_is_none_of_the_stacks():
    # The cell's variables are the same in each step, and its loops are those inside.
    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            y, _ = scanned(Layer, 2, reverse=True)(name="deep")(carry + x, None)
            return y, y

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            over_time = nn.scan(
                Step,
                variable_broadcast=("params", "batch_stats"),
                split_rngs={"params": False},
                in_axes=1,
                out_axes=1,
            )
            return over_time(name="time")(x[:, 0], x)[1]

    found = _stacks(Model())
    assert [s.size for s in found["params", "time", "deep", "scale"]] == [2]
    assert all(stacks[0].backward for stacks in found.values())


def test_a_function_of_modules_is_scanned_too():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            def body(model, carry, _):
                return nn.Dense(4, name="layer")(carry), None

            scan = nn.scan(
                body, variable_axes={"params": 1}, split_rngs={"params": True}, length=3
            )
            return scan(self, x, None)[0]

    assert _stacks(Model())["params", "layer", "bias"] == (Stack(1, 3, 0),)


def test_variables_that_are_used_twice_count_once():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = scanned(Layer, 2)(name="layers")
            x, _ = layers(x, None)
            return layers(x, None)[0]

    found = _stacks(Model())
    assert found["params", "layers", "scale"] == (Stack(0, 2, 0),)


def test_models_without_transforms_have_none():
    assert _stacks(nn.Dense(3)) == {}
    assert _stacks(nn.RNN(nn.LSTMCell(3))) == {}
    model = read_model(nn.Dense(3), (X,), None, {})
    assert model.unknown == ""


def test_models_that_only_init_can_run_say_why():
    class OnlyInit(nn.Module):
        @nn.compact
        def __call__(self, x):
            if not self.is_initializing():
                raise RuntimeError("not now")
            return nn.Dense(3)(x)

    model = read_model(OnlyInit(), (X,), None, {})
    assert (model.stacks, model.unknown) == ({}, "RuntimeError: not now")


def test_what_is_not_given_is_made_anew():
    class Cached(nn.Module):
        @nn.compact
        def __call__(self, x):
            is_there = self.has_variable("cache", "last")
            cache = self.variable("cache", "last", jnp.zeros, x.shape)
            if is_there:
                raise ValueError("one step at a time")
            cache.value = x
            return Layers(scanned(Layer, 2))(x)

    assert len(_stacks(Cached())) == 7


def test_flags_among_the_arguments_stay_as_they_are():
    def run(variables, arrays):
        assert isinstance(arrays["x"], jax.core.Tracer)

    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    assert find_stacks(run, {("params", "a"): shape}, {"x": X}) == {}

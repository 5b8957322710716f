"""Tests of batiste.linen.transforms.target."""

import functools
import gc
import pickle
from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import lift
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((3, 2))
STACKED = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}


class Coder(nn.Module):
    features: int = 2

    def setup(self):
        self.dense = nn.Dense(self.features)

    def encode(self, x):
        return self.dense(x)

    def __call__(self, x):
        return self.double(self.encode(x))

    def double(self, x):
        return 2 * x


class Net(nn.Module):
    """Runs a function of itself."""

    fn: Any

    @nn.compact
    def __call__(self, x):
        return self.fn(self, x)


def run(fn):
    return Net(fn).init_with_output(KEY, X)


def shapes(variables):
    return jax.tree.map(jnp.shape, nn.unbox(dict(variables["params"])))


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (functools.partial(nn.vmap, **STACKED), "VmapCoder"),
        (nn.jit, "JitCoder"),
        (nn.remat, "CheckpointCoder"),
        (nn.checkpoint, "CheckpointCoder"),
        (nn.map_variables, "Map_variablesCoder"),
        (nn.fold_rngs, "Fold_rngsCoder"),
        (functools.partial(nn.remat_scan, lengths=(2,)), "Remat_scanCoder"),
        (functools.partial(nn.add_metadata_axis, variable_axes={"params": 0}),
         "Map_variablesCoder"),
    ],
)  # fmt: skip
def test_names_of_classes(transform, name):
    cls = transform(Coder)
    assert cls.__name__ == cls.__qualname__ == name
    assert cls.__module__ == Coder.__module__
    assert issubclass(cls, Coder)
    assert cls(3).features == 3
    assert cls(3) == cls(3) != cls(4)
    _, variables = run(lambda mdl, x: cls(2)(x) if name[0] != "M" else x)
    assert name[0] == "M" or list(variables["params"]) == [name + "_0"]


def test_classes_are_made_once():
    assert nn.vmap(Coder, **STACKED) is nn.vmap(Coder, **STACKED)
    assert nn.vmap(Coder, **STACKED) is not nn.vmap(Coder, **STACKED, in_axes=1)
    assert nn.remat(nn.jit(Coder)).__name__ == "CheckpointJitCoder"
    assert nn.remat(nn.jit(Coder)) is nn.remat(nn.jit(Coder))
    # What may hold arrays is not kept.
    held = [jnp.ones(2)]
    hold = lambda variables: held and variables  # noqa: E731
    mapped = functools.partial(nn.map_variables, Coder, "params", hold)
    assert mapped() is not mapped()
    assert nn.remat(Coder, static_argnums=1) is not nn.remat(Coder, static_argnums=True)


def test_classes_do_not_outlive_the_class_they_are_made_of():
    class Local(nn.Module):
        pass

    nn.remat(Local)
    count = sum(c.__name__ == "CheckpointLocal" for c in Local.__subclasses__())
    assert count == 1
    del Local
    gc.collect()
    assert not any(
        c.__name__ == "CheckpointLocal"
        for c in gc.get_objects()
        # Not `isinstance`, which a proxy such as those of tensorboard's flags passes.
        if issubclass(type(c), type) and issubclass(c, nn.Module)
    )


def test_inside_the_module_is_of_the_original_class():
    seen = []

    class Spy(nn.Module):
        def __call__(self, x):
            seen.append((type(self), self.name, self.path))
            return x

    run(lambda mdl, x: nn.vmap(Spy)()(x))
    assert seen == [(Spy, "VmapSpy_0", ("VmapSpy_0",))]


def test_methods():
    lifted = nn.vmap(Coder, **STACKED, methods=["encode"])
    _, variables = run(lambda mdl, x: lifted().encode(x))
    assert shapes(variables)["VmapCoder_0"]["dense"]["kernel"] == (3, 2, 2)
    lifted = nn.vmap(Coder, methods={"encode": STACKED})
    assert shapes(run(lambda mdl, x: lifted().encode(x))[1])["VmapCoder_0"]
    # Options of a method come on top of those for all.
    lifted = nn.vmap(Coder, **STACKED, methods={"encode": {"in_axes": 1}})
    assert run(lambda mdl, x: lifted().encode(x))[0].shape == (2, 2)
    with pytest.raises(AttributeError, match="nope"):
        nn.vmap(Coder, methods=["nope"])
    with pytest.raises(ValueError, match="list, tuple, set or dict"):
        nn.vmap(Coder, methods="encode")


def test_a_class_without_call():
    class Quiet(nn.Module):
        def other(self, x):
            return x

    assert nn.jit(Quiet).__name__ == "JitQuiet"


def test_subclass_of_a_transformed_class():
    class Plus(nn.vmap(Coder, **STACKED)):
        bias: float = 1.0

        def __call__(self, x):
            return super().__call__(x) + self.bias

        def double(self, x):
            assert x.ndim == 1
            return 3 * x

    y, variables = run(lambda mdl, x: Plus(bias=5.0)(x))
    kernel = variables["params"]["Plus_0"]["dense"]["kernel"]
    assert jnp.allclose(y, 3 * jnp.einsum("bi,bij->bj", X, kernel) + 5)


def test_subclass_calls_itself_lifted_once():
    class Both(nn.vmap(Coder, **STACKED, methods=["__call__", "encode"])):
        pass

    _, variables = run(lambda mdl, x: Both()(x))
    assert shapes(variables)["Both_0"]["dense"]["kernel"] == (3, 2, 2)


def test_method_decorators_in_any_order():
    class Over(nn.Module):
        @nn.compact
        @nn.jit
        @nn.remat
        def __call__(self, x):
            return nn.Dense(2)(nn.Dense(3)(x))

    class Under(nn.Module):
        @nn.jit
        @nn.remat
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.Dense(3)(x))

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.Dense(3)(x))

    expected = Plain().init(KEY, X)
    for cls in (Over, Under):
        found = cls().init(KEY, X)
        assert jax.tree.all(jax.tree.map(jnp.allclose, found, expected))


def test_name_scopes_in_any_order():
    class Coder(nn.Module):
        @nn.compact_name_scope
        @nn.remat
        def encode(self, x):
            return nn.Dense(2)(x)

        @nn.remat
        @nn.compact_name_scope
        def decode(self, x):
            return nn.Dense(2)(x)

        @nn.remat
        def __call__(self, x):
            return self.decode(self.encode(x))

    params = Coder().init(KEY, X)["params"]
    assert {name: list(part) for name, part in params.items()} == {
        "encode": ["Dense_0"],
        "decode": ["Dense_0"],
    }


def test_setup_runs_inside():
    class Scaled(nn.Module):
        def setup(self):
            self.scale = self.param("scale", nn.initializers.ones, (2,))
            self.total = self.variable("state", "total", lambda: jnp.zeros(()))

        @functools.partial(
            nn.vmap,
            variable_axes={"params": 0, "state": 0},
            split_rngs={"params": True},
        )
        def __call__(self, x):
            self.total.value += x.sum()
            return x * self.scale

    variables = Scaled().init(KEY, X)
    assert variables["params"]["scale"].shape == (3, 2)
    assert variables["state"]["total"].shape == (3,)


@pytest.mark.parametrize("target", [3, None, nn.Dense(2), nn.Dense(2).__call__])
@pytest.mark.parametrize("transform", [nn.vmap, nn.jit, nn.remat, nn.scan])
def test_what_cannot_be_transformed(transform, target):
    with pytest.raises(errors.TransformTargetError, match="Module class"):
        transform(target)


def test_the_first_argument_must_be_a_module():
    with pytest.raises(errors.TransformTargetError, match="first argument"):
        run(lambda mdl, x: nn.jit(lambda mdl, x: x)(x, x))
    with pytest.raises(errors.TransformTargetError):
        run(lambda mdl, x: nn.cond(True, abs, abs, x, x))


def test_unbound_modules():
    for call in (
        lambda: nn.remat(nn.Dense)(2)(X),
        lambda: nn.remat(lambda mdl, x: mdl(x))(nn.Dense(2), X),
        lambda: nn.cond(True, lambda m, x: m(x), lambda m, x: x, nn.Dense(2), X),
    ):
        with pytest.raises(errors.CallCompactUnboundModuleError):
            call()


def test_instances_are_pickled():
    lifted = nn.vmap(Coder, **STACKED, methods=["encode"])
    copy = pickle.loads(pickle.dumps(lifted(4)))
    assert copy == lifted(4)
    assert type(copy) is lifted


def test_hooks_see_the_method_inside_once():
    calls = []

    def interceptor(next_fun, args, kwargs, context):
        calls.append((context.method_name, type(context.module).__name__))
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(interceptor):
        run(lambda mdl, x: nn.jit(nn.remat(nn.Dense))(2)(x))
        run(lambda mdl, x: nn.jit(nn.remat(nn.Dense))(2)(x))
    assert calls == 2 * [("__call__", "Net"), ("__call__", "Dense")]


def test_intermediates_and_tables():
    net = Net(lambda mdl, x: nn.jit(nn.remat(nn.Dense))(2)(x))
    variables = net.init(KEY, X)
    _, state = net.apply(variables, X, capture_intermediates=True)
    assert state["intermediates"]["JitCheckpointDense_0"]["__call__"][0].shape == (3, 2)
    table = net.tabulate(KEY, X, console_kwargs={"width": 120, "color_system": None})
    assert "JitCheckpointDense_0 │ Dense" in table


PARTIALS = {
    "vmap": (functools.partial(nn.vmap, **STACKED), (3, 2, 2)),
    "scan": (functools.partial(nn.scan, **STACKED, length=4), None),
    "jit": (nn.jit, (2, 2)),
    "remat": (nn.remat, (2, 2)),
    "remat_scan": (functools.partial(nn.remat_scan, lengths=(5, 2)), (5, 2, 2, 2)),
    "fold_rngs": (nn.fold_rngs, (2, 2)),
    "map_variables": (
        lambda target: nn.map_variables(target, "params", init=True),
        (2, 2),
    ),
    "add_metadata_axis": (
        lambda t: nn.add_metadata_axis(t, {"params": 0}, {nn.PARTITION_NAME: "l"}),
        (2, 2),
    ),
    "partitioning.remat": (nn.partitioning.remat, (2, 2)),
    "lift_transform": (
        lambda target: nn.transforms.lift_transform(lift.remat, target),
        (2, 2),
    ),
}


class Stepper(nn.Module):
    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(self.features, self.use_bias, name="d")(x), None


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", PARTIALS)
def test_partials_of_classes(name, twice):
    transform, shape = PARTIALS[name]
    target: Any = functools.partial(nn.Dense, use_bias=False)
    if name == "scan":
        target = functools.partial(Stepper, use_bias=False)
    if twice:
        target = functools.partial(target, features=2)
    arguments = () if twice else (2,)

    def program(mdl, x):
        layer = transform(target)(*arguments)
        return layer(x, None)[0] if name == "scan" else layer(x)

    found = shapes(run(program)[1])
    (layer,) = found.values()
    if name == "scan":
        assert layer == {"d": {"kernel": (4, 2, 2)}}
    else:
        assert layer == {"kernel": shape}


def test_partials_of_classes_are_partials_of_transformed_ones():
    made = nn.jit(functools.partial(nn.Dense, 3, use_bias=False))
    assert isinstance(made, functools.partial)
    assert made.func is nn.jit(nn.Dense)
    assert (made.args, made.keywords) == ((3,), {"use_bias": False})


@pytest.mark.parametrize("transform", [nn.jit, nn.remat, nn.fold_rngs])
@pytest.mark.parametrize("method", ["init_with_output", "init", "apply", "lazy_init"])
def test_methods_that_run_a_module_can_be_transformed(transform, method):
    def overriding(self, *args, **kwargs):
        return getattr(super(Fast, self), method)(*args, **kwargs)

    overriding.__name__ = method

    class Fast(nn.Module):
        @nn.compact
        def __call__(self, x):
            traces.append(isinstance(x, jax.core.Tracer))
            return nn.Dense(2)(x)

    traces: list[bool] = []
    expected = Fast().init(KEY, X)
    plain = getattr(Fast(), method)
    first = expected if method == "apply" else KEY
    y = plain(first, X)
    traces.clear()
    setattr(Fast, method, transform(overriding))
    found = getattr(Fast(), method)(first, X)
    assert jax.tree.structure(found) == jax.tree.structure(y)
    assert all(map(jnp.allclose, jax.tree.leaves(found), jax.tree.leaves(y)))
    if transform is not nn.fold_rngs:
        assert traces == [True]
    getattr(Fast(), method)(first, X)
    if transform is nn.jit:
        assert traces == [True]  # compiled once


def test_keyword_arguments_of_transformed_init_with_output():
    class Fast(nn.Module):
        @nn.remat
        def init_with_output(self, rngs, *args, **kwargs):
            return super().init_with_output(rngs, *args, **kwargs)

        @nn.fold_rngs
        def init(self, rngs, *args, **kwargs):
            return super().init(rngs, *args, **kwargs)

        @nn.compact
        def __call__(self, x, scale):
            return nn.Dense(2)(x) * scale

    y, variables = Fast().init_with_output(KEY, X, scale=2.0)
    assert jnp.allclose(y, 2 * X @ variables["params"]["Dense_0"]["kernel"])
    again = Fast().init(KEY, X, scale=2.0)
    assert shapes(again) == shapes(variables)

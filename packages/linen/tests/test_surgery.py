"""Tests of batiste.linen.surgery."""

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.core import FrozenDict
from batiste.core.errors import FlaxError
from batiste.linen.errors import SurgeryError
from batiste.linen.surgery import Replaced

KEY = jax.random.key(0)
X = jnp.ones((2, 4))


class Block(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(x)
        return nn.Dense(self.width, name="dense")(x)


class Compact(nn.Module):
    block: type = Block

    @nn.compact
    def __call__(self, x):
        for i in range(2):
            x = self.block(name=f"block_{i}")(x)
        return nn.Dense(3, name="head")(x)


class Setup(nn.Module):
    block: type = Block

    def setup(self):
        self.block_0, self.block_1 = self.block(), self.block()
        self.head = nn.Dense(3)

    def __call__(self, x):
        return self.head(self.encode(x))

    def encode(self, x):
        return self.block_1(self.block_0(x))


class Fields(nn.Module):
    block_0: nn.Module
    block_1: nn.Module
    head: nn.Module

    def __call__(self, x):
        return self.head(self.block_1(self.block_0(x)))


def fields():
    return Fields(Block(), Block(), nn.Dense(3))


STYLES = [Compact, Setup, fields]
TRANSFORMS = [nn.remat, nn.jit, nn.checkpoint]


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), a, b))


@pytest.mark.parametrize("make", STYLES)
def test_submodules_are_listed_by_path(make):
    found = nn.submodules(make(), X)
    below = [
        f"block_{i}{rest}" for i in range(2) for rest in ("", "/LayerNorm_0", "/dense")
    ]
    assert list(found) == [*below, "head"]
    head = found["head"]
    assert (head.module_type, head.module.features, head.method) == (
        nn.Dense,
        3,
        "__call__",
    )
    assert head.module.path == ("head",)
    assert head.args[0].shape == (2, 4)
    assert head.outputs.shape == (2, 3)
    assert head.params["kernel"].shape == (4, 3)
    assert sorted(found["block_0"].params) == ["LayerNorm_0", "dense"]
    assert found["block_0"].calls == 1


def test_nothing_is_computed():
    x = jax.ShapeDtypeStruct((2, 4), jnp.float32)
    found = nn.submodules(Compact(), x)
    assert isinstance(found["head"].outputs, jax.ShapeDtypeStruct)
    assert jax.jit(lambda x: len(nn.submodules(Compact(), x)))(X) == 7


def test_calls_of_a_shared_module_are_counted():
    class Shared(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(4)
            return layer(layer(x))

    assert nn.submodules(Shared(), X)["Dense_0"].calls == 2


def test_methods_and_streams():
    assert "head" not in nn.submodules(Setup(), X, method="encode")
    model = nn.Sequential([nn.Dense(4), nn.Dropout(0.5, deterministic=False)])
    found = nn.submodules(model, X, rngs={"params": KEY, "dropout": KEY})
    assert list(found) == ["layers_0", "layers_1"]


@pytest.mark.parametrize("make", STYLES)
@pytest.mark.parametrize(
    "path", ["block_1", "block_0/dense", "head", ("block_0", "dense")]
)
def test_what_is_taken_out_runs_alone(make, path):
    model = make()
    variables = model.init(KEY, X)
    part, its_variables = nn.extract(model, variables, path, X)
    assert part.scope is None
    steps = tuple(path.split("/")) if isinstance(path, str) else path
    _, state = model.apply(variables, X, capture_intermediates=True)
    whole = state["intermediates"]
    for step in steps:
        whole = whole[step]
    found = nn.submodules(model, X)["/".join(steps)]
    # Its input is the output of what comes before.
    before = {"head": "block_1", "block_1": "block_0"}.get(steps[-1])
    x = X
    if before:
        x = state["intermediates"][before]["__call__"][0]
    elif steps == ("block_0", "dense"):
        x = state["intermediates"]["block_0"]["LayerNorm_0"]["__call__"][0]
    assert x.shape == found.args[0].shape
    assert (part.apply(its_variables, x) == whole["__call__"][0]).all()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("cls", [Compact, Setup])
def test_transformed_modules_are_taken_out(cls, transform):
    model = cls(transform(Block))
    variables = model.init(KEY, X)
    part, its_variables = nn.extract(model, variables, "block_0", X)
    assert equal(its_variables["params"], variables["params"]["block_0"])
    whole = model.apply(variables, X, capture_intermediates=True)[1]["intermediates"]
    assert (part.apply(its_variables, X) == whole["block_0"]["__call__"][0]).all()


def test_shared_modules_come_along():
    class Tied(nn.Module):
        layers: dict

        def __call__(self, x):
            return self.layers["a"](x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(4, name="own")
            return Tied({"a": layer}, name="tied")(layer(x))

    variables = Model().init(KEY, X)
    part, its_variables = nn.extract(Model(), variables, "tied", X)
    assert equal(its_variables["params"]["layers_a"], variables["params"]["own"])
    own = nn.Dense(4).apply({"params": variables["params"]["own"]}, X)
    assert (part.apply(its_variables, X) == own).all()


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        class Step(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return Block(name="block")(x), None

        stack = nn.scan(
            Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        return stack(name="stack")(x, None)[0]


def test_scanned_modules_are_taken_out_whole():
    variables = Scanned().init(KEY, X)
    part, its_variables = nn.extract(Scanned(), variables, "stack", X)
    whole = Scanned().apply(variables, X)
    assert (part.apply(its_variables, X, None)[0] == whole).all()
    with pytest.raises(SurgeryError, match=r'"stack/block" cannot.*\(4,\).*\(3, 4\)'):
        nn.extract(Scanned(), variables, "stack/block", X)
    with pytest.raises(SurgeryError, match='Take out the transformed.*"stack"'):
        nn.extract(Scanned(), variables, "stack/block/dense", X)


def test_what_holds_an_array_of_the_model_is_not_taken_out():
    class Scaled(nn.Module):
        scale: jax.Array

        def __call__(self, x):
            return self.scale * x

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            scale = self.param("scale", nn.initializers.ones, (4,))
            return Scaled(scale, name="scaled")(x)

    variables = Model().init(KEY, X)
    with pytest.raises(
        SurgeryError, match='"scaled" cannot be taken out: its field "sc'
    ):
        nn.extract(Model(), variables, "scaled", X)


@pytest.mark.parametrize("path", ["blck_0", "block_0/nothing", "head/kernel"])
def test_what_is_not_there(path):
    variables = Compact().init(KEY, X)
    with pytest.raises(
        SurgeryError, match=f'"{path}" is not among.*7, such as: "'
    ) as e:
        nn.extract(Compact(), variables, path, X)
    assert isinstance(e.value, FlaxError)
    assert isinstance(e.value, ValueError)
    assert e.value.path == path
    with pytest.raises(SurgeryError, match="is not among"):
        nn.replace(Compact(), variables, path, nn.Dense(3), X)


@pytest.mark.parametrize("path", ["", "a//b", (), ("a", 1), "/a"])
def test_what_is_no_path(path):
    with pytest.raises(SurgeryError, match="has no name"):
        nn.extract(Compact(), {}, path, X)


@pytest.mark.parametrize("make", STYLES)
def test_replace_keeps_what_fits(make):
    model = make()
    variables = model.init(KEY, X)
    other, kept = nn.replace(model, variables, "head", nn.Dense(7), X)
    assert (
        sorted(kept["params"]) == ["block_0", "block_1", "head"][: len(kept["params"])]
    )
    assert equal(kept["params"]["block_0"], variables["params"]["block_0"])
    assert "kernel" not in kept["params"].get("head", {})
    fresh = other.init(KEY, X)
    assert fresh["params"]["head"]["kernel"].shape == (4, 7)
    assert equal(fresh["params"]["block_1"], variables["params"]["block_1"])
    merged = {"params": {**kept["params"], "head": fresh["params"]["head"]}}
    encoded = model.apply(variables, X, capture_intermediates=True)[1]["intermediates"]
    head = nn.Dense(7).apply(
        {"params": fresh["params"]["head"]}, encoded["block_1"]["__call__"][0]
    )
    assert (other.apply(merged, X) == head).all()
    assert isinstance(kept, type(variables)) is isinstance(variables, FrozenDict)


@pytest.mark.parametrize("make", STYLES)
def test_replace_within_a_submodule(make):
    class Doubled(nn.Module):
        width: int

        def setup(self):
            self.dense = nn.Dense(self.width)

        def __call__(self, x):
            return 2 * self.dense(x)

    model = make()
    variables = model.init(KEY, X)
    other, kept = nn.replace(model, variables, "block_0/dense", Doubled(4), X)
    fresh = other.init(KEY, X)["params"]
    assert sorted(fresh["block_0"]) == ["LayerNorm_0", "dense"]
    assert sorted(fresh["block_0"]["dense"]) == ["dense"]
    assert "dense" not in kept["params"]["block_0"]
    assert equal(kept["params"]["block_1"], variables["params"]["block_1"])


def test_the_setup_of_what_is_replaced_leaves_nothing():
    class WithSetup(nn.Module):
        def setup(self):
            self.inner = nn.Dense(4)
            self.scale = self.param("scale", nn.initializers.ones, (4,))

        def __call__(self, x):
            return self.scale * self.inner(x)

    model = Setup(WithSetup)
    other, _ = nn.replace(model, model.init(KEY, X), "block_0", WithSetup(), X)
    assert equal(other.init(KEY, X), model.init(KEY, X))
    other, kept = nn.replace(model, model.init(KEY, X), "block_0", nn.Dense(4), X)
    assert sorted(other.init(KEY, X)["params"]["block_0"]) == ["bias", "kernel"]
    assert "block_0" not in kept["params"]


def test_the_class_stays_where_the_submodule_is_in_a_field():
    other, _ = nn.replace(fields(), fields().init(KEY, X), "head", nn.Dense(7), X)
    assert type(other) is Fields
    assert other.head == nn.Dense(7)
    model = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    other, kept = nn.replace(model, model.init(KEY, X), "layers_2", nn.Dense(5), X)
    assert [type(other), other.layers[2].features] == [nn.Sequential, 5]
    assert sorted(kept["params"]) == ["layers_0"]


def test_other_methods_of_the_model_go_on():
    model = Setup()
    variables = model.init(KEY, X)
    other, kept = nn.replace(model, variables, "block_0", Block(), X)
    assert isinstance(other, Replaced)
    y = model.apply(variables, X, method="encode")
    assert (other.apply(kept, X, method="encode") == y).all()
    with pytest.raises(AttributeError, match="nothing"):
        other.apply(kept, X, method="nothing")


def test_replace_twice_under_jit_and_grad():
    model = Compact()
    variables = model.init(KEY, X)
    other, kept = nn.replace(model, variables, "block_0", nn.Dense(4), X)
    other, kept = nn.replace(other, kept, "head", nn.Dense(2), X)
    fresh = jax.jit(other.init)(KEY, X)
    assert sorted(fresh["params"]) == ["block_0", "block_1", "head"]
    with jax.checking_leaks():
        grads = jax.jit(jax.grad(lambda v: other.apply(v, X).sum()))(fresh)
    assert grads["params"]["head"]["kernel"].shape == (4, 2)


def test_within_a_scan():
    variables = Scanned().init(KEY, X)
    other, kept = nn.replace(Scanned(), variables, "stack/block", nn.Dense(4), X)
    fresh = other.init(KEY, X)["params"]["stack"]["block"]
    assert fresh["kernel"].shape == (3, 4, 4)
    assert kept.get("params", {}) == {}


def test_other_collections_are_kept():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=True, name="norm")(x)
            return nn.Dense(3, name="head")(x)

    variables = {**Normed().init(KEY, X), "cache": {"head": {"seen": X}}}
    _, kept = nn.replace(Normed(), variables, "head", nn.Dense(7), X)
    assert equal(kept["batch_stats"], variables["batch_stats"].unfreeze())
    assert kept["cache"]["head"]["seen"] is X

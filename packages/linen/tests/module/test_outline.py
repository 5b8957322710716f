"""Tests of batiste.linen.module.outline."""

import copy
import gc
import pickle
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn
from batiste.core.config import config
from batiste.core.errors import FlaxError
from batiste.linen.errors import (
    CallCompactUnboundModuleError,
    SetAttributeFrozenModuleError,
    UndefinedUntilBoundError,
)
from batiste.linen.module.outline import MISSING, Undefined, declared, declared_names

KEY = jax.random.key(0)
X = jnp.ones((2, 4))
runs = []


class Attention(nn.Module):
    width: int

    def setup(self):
        runs.append("Attention")
        self.query, self.key = nn.Dense(self.width), nn.Dense(self.width)

    def __call__(self, x):
        return self.query(x) * self.key(x)


class Block(nn.Module):
    width: int = 4

    def setup(self):
        self.attention = Attention(self.width)
        self.scale = self.param("scale", nn.initializers.ones, (self.width,))
        self.doubled = 2 * self.scale
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, (self.width,))
        self.noise = jax.random.normal(self.make_rng("noise"), (self.width,))
        self.mixed = [nn.Dense(2), self.scale]

    def __call__(self, x):
        return self.attention(x) * self.scale


class Wrap(nn.Module):
    inner: nn.Module
    others: dict

    def __call__(self, x):
        return self.inner(x)


class Model(nn.Module):
    block: type = Block

    def setup(self):
        self.blocks = [self.block() for _ in range(4)]
        self.heads = {"a": nn.Dense(2), "b": {"c": nn.Dense(3)}}
        self.decoder = self.block(name="decoder")
        self.shared = Wrap(self.decoder, {"first": self.blocks[0]})
        self.run_decoder = self.decoder.__call__
        self.activation = jnp.tanh
        self.number = 3

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](self.decoder(x))

    def paths(self):
        return self.decoder.path


def test_a_submodule_with_its_name_configuration_and_place():
    model = Model()
    decoder = model.decoder
    assert (type(decoder), decoder.name, decoder.width) == (Block, "decoder", 4)
    assert decoder.path == ("decoder",)
    assert decoder.scope is decoder.parent is None
    assert model.decoder is decoder


def test_chains_lists_and_dicts():
    model = Model()
    assert model.blocks[3].attention.query.path == ("blocks_3", "attention", "query")
    assert len(model.blocks) == 4
    assert model.heads["a"].features == 2
    assert model.heads["b"]["c"].path == ("heads_b_c",)


def test_a_module_in_two_places_is_one():
    model = Model()
    assert model.shared.inner is model.decoder
    assert model.shared.others["first"] is model.blocks[0]
    assert model.shared.others["first"].path == ("blocks_0",)


def test_other_values_are_as_they_are():
    model = Model()
    assert model.number == 3
    assert model.activation is jnp.tanh
    assert model.run_decoder.__self__ is model.decoder


@pytest.mark.parametrize(
    "path", [("decoder",), ("blocks_2",), ("blocks_0", "attention")]
)
def test_a_submodule_runs_on_its_variables(path):
    model = Model()
    variables = model.init(KEY, X)
    part, params = model, variables["params"]
    for name in path:
        root, _, index = name.partition("_")
        part = getattr(part, root)
        part = part[int(index)] if index else part
        params = params[name]
    assert part.path == path

    def of_whole(model, x):
        for name in path:
            root, _, index = name.partition("_")
            model = getattr(model, root)
            model = model[int(index)] if index else model
        return model(x)

    keys = {"noise": KEY}
    stats = {"batch_stats": {"mean": jnp.zeros(4)}}
    whole = model.apply(variables, X, method=of_whole, rngs=keys)
    alone = part.apply({"params": params, **stats}, X, rngs=keys)
    assert (whole == alone).all()


def test_init_of_the_whole_at_a_place():
    # What `model.init(method="decoder")` gives is what the whole gives there.
    whole = Model().init(KEY, X)["params"]["decoder"]
    there = Model().init(KEY, X, method="decoder")["params"]["decoder"]
    alone = Model().decoder.init(KEY, X)["params"]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), whole, there))
    assert jax.tree.structure(alone) == jax.tree.structure(whole)
    kernel = "attention", "query", "kernel"
    pair = [tree[kernel[0]][kernel[1]][kernel[2]] for tree in (alone, whole)]
    assert (pair[0] != pair[1]).any()


@pytest.mark.parametrize("name", ["scale", "doubled", "mean", "noise"])
def test_what_is_made_of_variables_or_keys_is_undefined(name):
    with pytest.raises(UndefinedUntilBoundError, match=f'"Block".*"{name}".*unbound'):
        getattr(Block(), name)
    assert not hasattr(Block(), name)
    error = UndefinedUntilBoundError(name)
    assert isinstance(error, FlaxError)
    assert isinstance(error, AttributeError)


def test_within_containers_what_is_undefined_has_a_place():
    dense, scale = Block().mixed
    assert dense.path == ("mixed_0",)
    assert isinstance(scale, Undefined)
    assert repr(scale) == "<undefined until bound>"
    for use in (
        lambda: scale + 1,
        lambda: scale.shape,
        lambda: scale[0],
        lambda: bool(scale),
        lambda: np.asarray(scale),
        lambda: scale(X),
        lambda: list(scale),
    ):
        with pytest.raises(UndefinedUntilBoundError, match='"mixed"'):
            use()


def test_arrays_in_fields_of_submodules_are_undefined():
    class Scaled(nn.Module):
        scale: jax.Array

        def __call__(self, x):
            return self.scale * x

    class Outer(nn.Module):
        def setup(self):
            self.scaled = Scaled(self.param("scale", nn.initializers.ones, (4,)))

    assert Outer().scaled.path == ("scaled",)
    with pytest.raises(UndefinedUntilBoundError, match='"scale"'):
        Outer().scaled.apply({}, X)


def test_setup_that_needs_values_is_told():
    class Outer(nn.Module):
        def setup(self):
            if self.param("on", nn.initializers.ones, ()) > 0:
                self.layer = nn.Dense(3)

    with pytest.raises(
        UndefinedUntilBoundError, match="cannot run with shapes"
    ) as told:
        Outer().layer  # noqa: B018
    assert isinstance(told.value.__cause__, jax.errors.TracerBoolConversionError)
    assert declared_names(Outer()) == []


@pytest.mark.parametrize(
    "transform",
    [nn.remat, nn.jit, lambda cls: nn.vmap(cls, variable_axes={"params": 0})],
)
def test_transformed_classes(transform):
    model = Model(transform(Block))
    assert isinstance(model.decoder, Block)
    assert model.decoder.path == ("decoder",)
    assert model.blocks[1].attention.query.path == ("blocks_1", "attention", "query")


def test_what_needs_variables_still_raises():
    model = Model()
    with pytest.raises(AttributeError, match='no attribute "nothing".*setup'):
        model.nothing  # noqa: B018
    # As the guide shows it: the method of an unbound module has no submodules.
    with pytest.raises(AttributeError, match='no attribute "blocks".*setup'):
        model(X)
    with pytest.raises(AttributeError, match='no attribute "decoder".*setup'):
        model.paths()
    with pytest.raises(CallCompactUnboundModuleError):
        model.heads["a"](X)
    with pytest.raises(ValueError, match="not bound"):
        model.path  # noqa: B018
    with pytest.raises(ValueError, match="not bound"):
        nn.Dense(3).path  # noqa: B018


def test_within_a_running_module_nothing_is_adopted():
    class Outer(nn.Module):
        template: nn.Module

        @nn.compact
        def __call__(self, x):
            part = template.blocks[0].attention
            assert part.scope is None
            return nn.Dense(part.width)(x)

    template = Model()
    assert list(Outer(template).init(KEY, X)["params"]) == ["Dense_0"]


def test_under_jit_and_without_leaks():
    with jax.checking_leaks():
        assert jax.jit(lambda x: x * Model().decoder.width)(2) == 8
        assert Model().blocks[0].attention.key.path == ("blocks_0", "attention", "key")


def test_setup_runs_once_and_only_for_those_who_look():
    runs.clear()
    block = Block()
    assert runs == []
    for _ in range(3):
        block.attention  # noqa: B018
    assert runs == []  # its submodule's own is for those who look there
    for _ in range(3):
        block.attention.query  # noqa: B018
    assert runs == ["Attention"]


def test_modules_are_let_go():
    model = Model()
    model.decoder.attention.query  # noqa: B018
    found = weakref.ref(model)
    del model
    gc.collect()
    assert found() is None


def test_copies_look_again():
    model = Model()
    path = model.decoder.path
    for twin in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        model.clone(),
    ):
        assert twin.decoder is not model.decoder
        assert twin.decoder.path == path


def test_dir_names_them():
    assert {"blocks", "decoder", "heads"} <= set(dir(Model()))
    assert "attention" not in dir(Model())


def test_bound_modules_are_as_before():
    model = Model().bind(Model().init(KEY, X), rngs={"noise": KEY})
    assert model.decoder.scope is not None
    with pytest.raises(SetAttributeFrozenModuleError):
        model.decoder.width = 3


def test_off_it_raises_as_flax_does():
    with config.temp_flip_flag("unbound_submodules", False):
        with pytest.raises(AttributeError, match='no attribute "decoder"'):
            Model().decoder  # noqa: B018
        assert "decoder" not in dir(Model())
        assert declared(Model(), "decoder") is MISSING


def test_a_module_that_waits_for_its_name_has_nothing_yet():
    """What was read of it would not be what it has once its parent has bound it."""

    class Outer(nn.Module):
        def setup(self):
            attention = Attention(4)
            assert isinstance(attention.parent, Outer)
            assert not hasattr(attention, "query")
            assert "query" not in dir(attention)
            # A module that is nobody's is open here, as it is elsewhere.
            assert Attention(4, parent=None).query.path == ("query",)
            self.attention = attention
            self.shared = self.attention.query

        def __call__(self, x):
            return self.shared(x)

    variables = Outer().init(KEY, X)
    assert list(variables["params"]) == ["attention"]

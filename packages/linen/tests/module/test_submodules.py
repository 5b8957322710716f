"""Submodules: where they come from, what they are called, what they share."""

import contextlib
import gc
from typing import Any, NamedTuple

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import FrozenDict, config, struct
from batiste.core.scope import LazyRng
from batiste.linen import errors
from batiste.linen.module.submodules import contains_module, map_modules

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Use(nn.Module):
    layer: Any

    def __call__(self, x):
        return self.layer(x)


class Box(NamedTuple):
    first: Any
    rest: Any


@struct.dataclass
class Struct:
    first: Any
    rest: Any


def names(model, *args):
    return sorted(model.init(KEY, *args)["params"])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: nn.Dense(3), ["attr"]),
        (lambda: [nn.Dense(3), nn.Dense(3)], ["attr_0", "attr_1"]),
        (lambda: (nn.Dense(3), [nn.Dense(3)]), ["attr_0", "attr_1_0"]),
        (lambda: {"a": nn.Dense(3), 3: (nn.Dense(3),)}, ["attr_3_0", "attr_a"]),
        (lambda: FrozenDict({"a": {"b": nn.Dense(3)}}), ["attr_a_b"]),
        (lambda: Box(nn.Dense(3), [nn.Dense(3)]), ["attr_first", "attr_rest_0"]),
        (lambda: Struct(nn.Dense(3), [nn.Dense(3)]), ["attr_first", "attr_rest_0"]),
        (lambda: [1, None, "x", nn.Dense(3), jnp.ones(2)], ["attr_3"]),
    ],
)
def test_names_in_containers(make, expected):
    def run(tree, x):
        modules: list[Any] = []
        map_modules(lambda name, m: modules.append(m), tree, "")
        for m in modules:
            x = m(x)
        return x

    class Setup(nn.Module):
        def setup(self):
            self.attr = make()

        def __call__(self, x):
            return run(self.attr, x)

    class Field(nn.Module):
        attr: Any

        def __call__(self, x):
            return run(self.attr, x)

    class Compact(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Field(make(), name="inner")(x)

    assert names(Setup(), X) == expected
    assert names(Field(make()), X) == expected
    got = Compact().init(KEY, X)["params"]
    if expected == ["attr"]:
        # What is constructed in the compact method belongs to it.
        assert sorted(got) == ["Dense_0"]
    else:
        assert sum(len(v) if k == "inner" else 1 for k, v in got.items()) == len(
            expected
        )


def test_containers_are_frozen():
    class Model(nn.Module):
        field: Any

        def setup(self):
            self.list = [1, [2]]
            self.dict = {"a": [{"b": 1}]}

        def __call__(self):
            return self.field, self.list, self.dict

    given = {"k": [1, 2]}
    assert Model(given).apply({}) == (
        FrozenDict({"k": (1, 2)}),
        (1, (2,)),
        FrozenDict({"a": (FrozenDict({"b": 1}),)}),
    )
    assert given == {"k": [1, 2]}
    assert isinstance(Model([1]).field, list)


def test_what_is_in_a_frozen_dict_is_frozen_too_and_plain_options_are_kept():
    class Model(nn.Module):
        field: Any

        def __call__(self):
            return self.field

    kept = FrozenDict({"a": 1, "b": None})
    assert Model(kept).apply({}) is kept
    (in_list,) = Model(FrozenDict({"a": [1]})).apply({}).values()
    assert in_list == (1,)
    (layer,) = Model(FrozenDict({"a": nn.Dense(2)})).apply({}).values()
    assert layer.name == "field_a"
    nested = Model(FrozenDict({"a": {"b": [1]}})).apply({})
    assert nested == FrozenDict({"a": {"b": (1,)}})


def test_automatic_names():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3)(x)
            x = nn.Dense(3, name="mine")(x)
            x = Use(nn.Dense(3))(x)
            return nn.Dense(3)(x)

    assert names(Model(), X) == ["Dense_0", "Dense_1", "Dense_2", "mine"]


def test_one_object_is_one_submodule():
    shared = nn.Dense(3)

    class Two(nn.Module):
        one: Any
        two: Any

        def __call__(self, x):
            return self.two(self.one(x))

    class Inside(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Two(Use(shared), Use(shared))(x)

    class Closure(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Use(shared)(Use(shared)(x))

    def count(model):
        return len(jax.tree.leaves(model.init(KEY, X)["params"]))

    assert count(Two(shared, shared)) == 2
    assert count(Two(nn.Dense(3), nn.Dense(3))) == 4
    assert count(Two(Use(shared), Use(Use(shared)))) == 2
    assert count(Inside()) == count(Closure()) == 2
    assert shared.scope is None
    assert shared.name is None


def test_detached():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            free = nn.Dense(4, parent=None)
            return free.apply(free.init(KEY, x), x)

    y, variables = Model().init_with_output(KEY, X)
    assert y.shape == (2, 4)
    assert not variables


def test_a_module_made_elsewhere_cannot_be_called():
    outer = nn.Dense(2)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return outer(x)

    with pytest.raises(errors.CallCompactUnboundModuleError, match="method of Dense"):
        Model().init(KEY, X)


def test_names_kept():
    class Keep(Use):
        preserve_adopted_names = True

    named = nn.Dense(2, name="mine")
    assert names(Use(named), X) == ["layer"]
    assert names(Keep(named), X) == ["mine"]
    assert names(Keep(nn.Dense(2)), X) == ["layer"]
    config.update("preserve_adopted_names", True)
    try:
        assert names(Use(named), X) == ["mine"]
    finally:
        config.update("preserve_adopted_names", False)


def test_name_clash_names_the_path():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            nn.Dense(2, name="bar")(x)
            return nn.Dense(2, name="bar")(x)

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Model(name="inner")(x)

    with pytest.raises(
        errors.NameInUseError,
        match='Cannot create submodule "bar" in module Model at "/inner": the name is',
    ):
        Outer().init(KEY, X)


def test_name_must_be_text():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name=3)(x)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="must be a string"):
        Model().init(KEY, X)


def test_bad_parent():
    with pytest.raises(ValueError, match="is a Module.* this Dense was given 3"):
        nn.Dense(2, parent=3)


def test_map_modules_keeps_what_has_none():
    tree = {"a": [1, "x"], "b": (nn.relu, None), "c": Box(1, [X])}
    mapped = map_modules(lambda name, m: m, tree, "t")
    assert mapped == tree
    assert type(mapped["a"]) is list
    assert not contains_module(tree)
    assert contains_module({**tree, "d": Struct(1, [nn.Dense(2)])})
    assert contains_module(FrozenDict({"d": (nn.Dense(2),)}))


def test_modules_are_freed_without_the_collector():
    model = Use(nn.Sequential([nn.Dense(2), Use(nn.Dense(2))]))
    variables = model.init(KEY, X)

    def alive():
        return sum(isinstance(o, nn.Module) for o in gc.get_objects())

    model.apply(variables, X)
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for _ in range(5):
            model.apply(variables, X)
        assert alive() == before
    finally:
        gc.enable()


# Sharing a scope.


class Shift(nn.Module):
    """Adds a parameter to a layer, beside the layer's own."""

    layer: Any

    def setup(self):
        nn.share_scope(self, self.layer)

    @nn.compact
    def __call__(self, x):
        shift = self.param("shift", nn.initializers.ones, (1,))
        return self.layer(x) + shift


def test_wrapper_takes_the_place_of_what_it_wraps():
    class Model(nn.Module):
        wrap: bool

        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(4)
            return (Shift(layer) if self.wrap else layer)(x)

    plain = Model(False).init(KEY, X)
    wrapped = Model(True).init(KEY, X)
    assert set(wrapped["params"]) == {"Dense_0"}
    assert set(wrapped["params"]["Dense_0"]) == {"kernel", "bias", "shift"}
    together = jax.tree.map(jnp.ones_like, wrapped)
    alone = jax.tree.map(jnp.ones_like, plain)
    y = Model(False).apply(alone, X)
    assert (Model(True).apply(together, X) == y + 1).all()


def test_a_submodule_moves_up():
    class Model(nn.Module):
        def setup(self):
            self.inner = nn.Sequential([nn.Dense(2), nn.Dense(2)])
            nn.share_scope(self, self.inner)

        def __call__(self, x):
            return self.inner(x)

    assert set(Shift(nn.Dense(4)).init(KEY, X)["params"]) == {"kernel", "bias", "shift"}
    variables = Model().init(KEY, X)
    assert set(variables["params"]) == {"layers_0", "layers_1"}
    assert (Model().apply(variables, X) == Model().bind(variables)(X)).all()


def test_sharing_and_calling_twice():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = Shift(nn.Dense(3))
            return layer(layer(x))

    assert list(Model().init(KEY, X)["params"]) == ["Dense_0"]


def test_sharing_the_same_scope_again():
    class Model(nn.Module):
        def setup(self):
            self.layer = nn.Dense(2)
            nn.share_scope(self, self.layer)
            nn.share_scope(self, self.layer)
            nn.share_scope(self.layer, self)

        def __call__(self, x):
            return self.layer(x)

    assert set(Model().init(KEY, X)["params"]) == {"kernel", "bias"}


def test_shared_scopes_clash():
    class Model(nn.Module):
        layer: Any

        def setup(self):
            nn.share_scope(self, self.layer)

        @nn.compact
        def __call__(self, x):
            return self.layer(x) + self.param("kernel", nn.initializers.ones, (1,))

    with pytest.raises(errors.NameInUseError, match='param "kernel" in module Model'):
        Model(nn.Dense(2)).init(KEY, X)


def test_sharing_unbound():
    with pytest.raises(
        errors.CallShareScopeOnUnboundModuleError, match="unbound module of Dense"
    ):
        nn.share_scope(nn.Dense(2), nn.Dense(2))


@struct.dataclass
class Sorted:
    z: Any
    b: Any


class Tupled(NamedTuple):
    z: Any
    b: Any


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda a: {"foo": a, "bar": a}, "layer_bar"),
        (lambda a: {"z": {"q": a}, "c": (0, a)}, "layer_c_1"),
        (lambda a: [{"z": a, "b": (a,)}], "layer_0_b_0"),
        (lambda a: FrozenDict({"z": a, "b": a}), "layer_b"),
        (lambda a: {10: a, 9: a}, "layer_10"),
        (lambda a: [0, 0, *[a] * 9], "layer_10"),
        (lambda a: Tupled(a, {"k": a}), "layer_b_k"),
        (lambda a: Sorted(a, [a]), "layer_b_0"),
    ],
)
def test_a_module_with_several_names_has_the_first_of_sorted_ones(make, expected):
    class Hold(nn.Module):
        layer: Any

        @nn.compact
        def __call__(self, x):
            is_module = lambda leaf: isinstance(leaf, nn.Module)  # noqa: E731
            leaves = jax.tree.leaves(self.layer, is_leaf=is_module)
            return next(filter(is_module, leaves))(x)

    class Setup(nn.Module):
        def setup(self):
            self.layer = make(nn.Dense(3))

        def __call__(self, x):
            return Hold(self.layer, parent=None).layer and x

    assert names(Hold(make(nn.Dense(3))), X) == [expected]
    layer = Setup().bind({}, rngs=KEY, mutable=True).layer
    is_module = lambda leaf: isinstance(leaf, nn.Module)  # noqa: E731
    found = filter(is_module, jax.tree.leaves(layer, is_leaf=is_module))
    assert {module.name for module in found} == {expected}


@pytest.mark.parametrize("keeps", [False, True])
def test_keys_and_paths_of_what_a_moved_module_holds(keeps):
    class Noise(nn.Module):
        def __call__(self):
            return self.make_rng(), self.path

    class Outer(nn.Module):
        inner: Any

        def setup(self):
            nn.share_scope(self, self.inner)

        def __call__(self):
            return self.inner.layer()

    with config.temp_flip_flag("share_scope_keeps_paths", keeps):
        key, path = Outer(Use(Noise())).apply({}, rngs=KEY)
    assert path == (("inner", "layer") if keeps else ("layer",))
    assert key == LazyRng(KEY, path).draw(1)


@pytest.mark.parametrize("config_value", [None, False, True])
@pytest.mark.parametrize("attribute", [None, False, True])
def test_whether_names_are_kept(config_value, attribute):
    class Keep(Use):
        if attribute is not None:
            preserve_adopted_names = attribute

    class Inherits(Keep):
        pass

    class Around(nn.Module):
        inner: nn.Module

        def __call__(self, x):
            return self.inner(x)

    flag = contextlib.nullcontext()
    if config_value is not None:
        flag = config.temp_flip_flag("preserve_adopted_names", config_value)
    named = nn.Dense(2, name="mine")
    # What the class says counts for more than the config.
    kept = bool(config_value) if attribute is None else attribute
    expected = ["mine"] if kept else ["layer"]
    with flag:
        assert names(Keep(named), X) == names(Inherits(named), X) == expected
        assert names(Keep(nn.Dense(2)), X) == ["layer"]
        # Each class decides over its own fields.
        inner = Around(Keep(named)).init(KEY, X)["params"]["inner"]
        assert list(inner) == expected
    assert not hasattr(nn.Module, "preserve_adopted_names")


class SharesField(nn.Module):
    layer: nn.Module

    def setup(self):
        nn.share_scope(self, self.layer)

    @nn.compact
    def __call__(self, x):
        self.param("own", nn.initializers.ones, ())
        return self.layer(x)


@pytest.mark.parametrize("lifted", [None, nn.remat, nn.jit])
@pytest.mark.parametrize("as_later", [False, True])
def test_a_shared_field_within_a_lifted_function(lifted, as_later):
    class Around(nn.Module):
        shares: nn.Module

        @nn.compact
        def __call__(self, x):
            run = lambda mdl, x: mdl.shares(x)  # noqa: E731
            return run(self, x) if lifted is None else lifted(run)(self, x)

    with config.temp_flip_flag("share_scope_keeps_paths", as_later):
        model = Around(SharesField(nn.Dense(2)))
        params = model.init(KEY, X)["params"]["shares"]
        if as_later and lifted is not None:
            params = params["layer"]  # where flax moves it
        assert sorted(params) == ["bias", "kernel", "own"]
        variables = model.init(KEY, X)
        assert model.apply(variables, X).shape == (2, 2)


def test_a_scope_is_shared_by_bound_modules_alone():
    bound = nn.Dense(2).bind({})
    for one, other in ((bound, nn.Dense(3)), (nn.Dense(3), bound)):
        with pytest.raises(errors.CallShareScopeOnUnboundModuleError, match="Dense"):
            nn.share_scope(one, other)

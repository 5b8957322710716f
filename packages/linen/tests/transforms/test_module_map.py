"""Tests of batiste.linen.transforms.module_map."""

from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import struct
from batiste.linen.transforms.module_map import (
    ModuleMap,
    ModuleSlot,
    Rebuilt,
    is_within,
    mark_within,
)

KEY = jax.random.key(0)
KEYS = {"params": KEY, "dropout": jax.random.key(1)}
X = jnp.ones((3, 2))
STACKED = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}


class Net(nn.Module):
    """Runs a function of itself."""

    fn: Any

    @nn.compact
    def __call__(self, x):
        return self.fn(self, x)


class Holder(struct.PyTreeNode):
    layer: Any
    fn: Any = struct.field(pytree_node=False)

    def __call__(self, x):
        return self.fn(self.layer, x)


def params(fn):
    return dict(Net(fn).init(KEYS, X)["params"])


def same(found, expected):
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    return len(found) == len(expected) and all(map(jnp.allclose, found, expected))


def test_modules_as_arguments():
    def program(mdl, x):
        layers = {"a": nn.Dense(2), "b": [nn.Dense(2)], "c": Holder(nn.Dense(2), call)}

        def body(mdl, layers, x):
            assert layers["a"] is not None
            assert layers["b"][0].name == "Dense_1"
            return layers["a"](x) + layers["b"][0](x) + layers["c"](x) + nn.Dense(2)(x)

        return nn.vmap(body, **STACKED, in_axes=(None, 0))(mdl, layers, x)

    found = params(program)
    assert sorted(found) == [f"Dense_{i}" for i in range(4)]
    assert all(part["kernel"].shape == (3, 2, 2) for part in found.values())


def call(layer, x):
    return layer(x)


def test_the_example_of_the_specification():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(x.shape[-1])
            inner = nn.vmap(Foo.inner, **STACKED, in_axes=(0, None))
            return inner(self, x, Holder(dense, lambda mdl, x: mdl(x) + 1))

        def inner(self, x, fn):
            for _ in range(3):
                x = fn(x)
            return x

    variables = Foo().init(KEY, X)
    assert variables["params"]["Dense_0"]["kernel"].shape == (3, 2, 2)


@pytest.mark.parametrize("transform", [nn.jit, nn.remat])
def test_shared_modules_are_one_inside(transform):
    def program(mdl, x):
        dense = nn.Dense(2)
        stack = nn.Sequential([dense, dense])

        def body(mdl, stack, dense, x):
            assert stack.layers[0] is stack.layers[1] is dense
            return stack(x) + dense(x)

        return transform(body)(mdl, stack, dense, x) + dense(x)

    assert sorted(params(program)) == ["Dense_0"]


def test_parent_and_child_together():
    class Child(nn.Module):
        above: nn.Module

        @nn.compact
        def __call__(self, x):
            return self.above.activate(nn.Dense(2)(x))

    class Above(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.jit(nn.remat(Child))(above=self)(x)

        def activate(self, x):
            return x * self.get_variable("state", "scale", 2.0)

    variables = Above().init(KEY, X)
    assert list(variables["params"]) == ["JitCheckpointChild_0"]
    y = Above().apply({**variables, "state": {"scale": 4.0}}, X)
    assert jnp.allclose(y, 2 * Above().apply(variables, X))


def test_a_tree_of_modules_as_target():
    def program(mdl, x):
        pair = (nn.Dense(2), {"b": nn.Dense(2)})
        return nn.remat(lambda pair, x: pair[0](x) + pair[1]["b"](x))(pair, x)

    assert sorted(params(program)) == ["Dense_0", "Dense_1"]


def test_submodules_of_setup_as_arguments():
    class Two(nn.Module):
        def setup(self):
            self.dense = nn.Dense(2)

        def __call__(self, x):
            return nn.remat(lambda mdl, d, x: d(x) + mdl.dense(x))(self, self.dense, x)

    assert list(Two().init(KEY, X)["params"]) == ["dense"]


def test_variables_as_arguments():
    def program(mdl, x):
        count = mdl.variable("state", "count", lambda: jnp.zeros(()))

        def body(mdl, count, x):
            count.value += 1
            return x * count.value

        return nn.jit(body)(mdl, count, x), count.value

    (_, count), variables = Net(program).init_with_output(KEY, X)
    assert count == variables["state"]["count"] == 1


def test_share_scope_inside():
    class Adapter(nn.Module):
        layer: Any

        def setup(self):
            nn.share_scope(self, self.layer)

        @nn.compact
        def __call__(self, x):
            return self.layer(x * self.param("a", nn.initializers.ones, (2,)))

    found = params(lambda mdl, x: nn.remat(Adapter)(nn.Dense(2, parent=None))(x))
    assert sorted(found["CheckpointAdapter_0"]) == ["a", "bias", "kernel"]


def test_callable_containers_of_modules_as_fields():
    class Outer(nn.Module):
        holder: Any

        @nn.compact
        def __call__(self, x):
            return self.holder(x)

    def program(mdl, x):
        dense = nn.Dense(2)
        return nn.remat(Outer)(Holder(dense, call))(x) + dense(x)

    assert sorted(params(program)) == ["Dense_0"]


def test_what_has_no_modules_is_passed_as_it_is():
    def program(mdl, x):
        module_map = ModuleMap(mdl)
        nested = {"b": [x, (1, None)], "a": "text"}
        assert module_map.add_args((nested, x))[0] is nested
        assert not module_map.has_slots
        (changed,) = module_map.add_args(([x, mdl],))
        assert module_map.has_slots
        assert changed[0] is x
        assert changed[1] == module_map.add_target() == ModuleSlot(0)
        assert module_map.scopes == [mdl.scope]
        return x

    Net(program).init(KEY, X)


def test_modules_are_made_after_those_in_their_fields():
    def program(mdl, x):
        inner = nn.Dense(2)
        module_map = ModuleMap(nn.Sequential([inner, inner]))
        target = module_map.add_target()
        assert [spec.cls for spec in module_map.specs] == [nn.Dense, nn.Sequential]
        assert module_map.specs[1].slotted == ("layers",)
        rebuilt = Rebuilt(module_map.specs, module_map.scopes)
        again = rebuilt.fill(target)
        assert again.layers[0] is again.layers[1] is rebuilt.modules[0]
        rebuilt.release()
        return x

    Net(program).init(KEY, X)


def test_marks_of_transforms():
    module = nn.Dense(2)
    assert not is_within(module, Net)
    mark_within(module, Net)
    mark_within(module, Holder)
    assert is_within(module, Net)
    assert is_within(module, Holder)
    assert not is_within(module, nn.Dense)


# Variables in fields: what a module is given, it gives on.

BODY = {
    "none": lambda body: body,
    "jit": nn.jit,
    "remat": nn.remat,
    "fold_rngs": nn.fold_rngs,
    "map_variables": lambda body: nn.map_variables(body, "params"),
    "scan": lambda body: (
        lambda mdl, x: nn.scan(
            lambda mdl, x, _: (body(mdl, x), None), variable_carry="state", length=1
        )(mdl, x, None)[0]
    ),
    "remat_scan": lambda body: nn.remat_scan(
        body, lengths=(1, 1), variable_carry="state", variable_axes={}, split_rngs={}
    ),
    "cond": lambda body: lambda mdl, x: nn.cond(True, body, body, mdl, x),
    "switch": lambda body: lambda mdl, x: nn.switch(1, [body, body], mdl, x),
    "while_loop": lambda body: (
        lambda mdl, x: nn.while_loop(
            lambda mdl, carry: carry[0] < 1,
            lambda mdl, carry: (carry[0] + 1, body(mdl, carry[1])),
            mdl,
            (0, x),
            carry_variables="state",
        )[1]
    ),
}


def nestings():
    pairs = {pair for t in BODY for pair in [(t, "jit"), ("jit", t), (t, t)]}
    return [(*pair, lambda v: v) for pair in sorted(pairs)] + [
        (t, "none", lambda v: {"a": [1, (v,)]}) for t in BODY
    ]


@pytest.mark.parametrize(("outer", "inner", "holder"), nestings())
def test_variables_in_fields_of_nested_modules(outer, inner, holder):
    def only(count):
        return count if isinstance(count, nn.Variable) else count["a"][1][0]

    class Inner(nn.Module):
        count: Any

        @nn.compact
        def __call__(self, x):
            def body(mdl, x):
                only(mdl.count).value += 1
                return x + only(mdl.count).value

            return BODY[inner](body)(self, x)

    class Outer(nn.Module):
        count: Any

        @nn.compact
        def __call__(self, x):
            def body(mdl, x):
                return Inner(mdl.count)(x)

            return BODY[outer](body)(self, x)

    def program(mdl, x):
        count = mdl.variable("state", "count", lambda: jnp.zeros(()))
        y = Outer(holder(count))(x)
        return Outer(holder(count))(y), count.value

    (y, count), variables = Net(program).init_with_output(KEY, X)
    assert jnp.allclose(y, X + 1 + 2)
    assert count == variables["state"]["count"] == 2
    (y, _), changed = Net(program).apply(variables, X, mutable="state")
    assert jnp.allclose(y, X + 3 + 4)
    assert changed["state"]["count"] == 4


@pytest.mark.parametrize("transform", [nn.jit, nn.remat, nn.fold_rngs])
def test_variables_in_fields_of_transformed_classes(transform):
    class Inner(nn.Module):
        count: nn.Variable

        @nn.compact
        def __call__(self, x):
            self.count.value += 1
            return nn.Dense(2)(x) + self.count.value

    class Outer(nn.Module):
        count: nn.Variable

        def setup(self):
            self.inner = transform(Inner)(self.count)

        def __call__(self, x):
            return self.inner(x)

    class Top(nn.Module):
        def setup(self):
            self.count = self.variable("state", "count", lambda: jnp.zeros(()))
            self.outer = transform(Outer)(self.count)

        def __call__(self, x):
            return self.outer(self.outer(x)), self.count.value

    variables = Top().init(KEY, X)
    assert variables["state"]["count"] == 2
    (_, count), changed = Top().apply(variables, X, mutable="state")
    assert count == changed["state"]["count"] == 4


@pytest.mark.parametrize("axis", [0, None])
def test_variables_in_fields_have_the_axes_of_their_collection(axis):
    class Reader(nn.Module):
        scale: nn.Variable

        @nn.compact
        def __call__(self, x):
            assert self.scale.value.shape == (() if axis == 0 else (3,))
            return x * self.scale.value.sum()

    def program(mdl, x):
        scale = mdl.variable("state", "scale", lambda: jnp.arange(3.0))
        read = nn.vmap(Reader, variable_axes={"state": axis}, split_rngs={})
        return read(scale)(x)

    y, _ = Net(program).init_with_output(KEY, jnp.ones(3))
    assert y.tolist() == ([0, 1, 2] if axis == 0 else [3, 3, 3])


@pytest.mark.parametrize("transform", ["grad", "jvp", "vjp", "custom_vjp"])
def test_variables_in_fields_under_derivatives(transform):
    class Reader(nn.Module):
        scale: nn.Variable

        @nn.compact
        def __call__(self, x):
            return x * self.scale.value

    def program(mdl, x):
        reader = Reader(mdl.variable("state", "scale", lambda: jnp.full((), 3.0)))
        if transform == "grad":
            return nn.grad(lambda mdl, x: mdl(x).sum(), reader, x)[0]
        if transform == "jvp":
            return nn.jvp(call, reader, (x,), (jnp.ones_like(x),), {})[1]
        if transform == "vjp":
            y, backward = nn.vjp(call, reader, x, multi_scope=True)
            return backward(jnp.ones_like(y))[1]
        forward = lambda mdl, x: nn.vjp(call, mdl, x, multi_scope=True)  # noqa: E731
        rule = nn.custom_vjp(call, forward, lambda back, y_bar: back(y_bar))
        return rule(reader, x)

    y, _ = Net(program).init_with_output(KEY, X)
    assert y.tolist() == (3 * X).tolist()


def test_jitted_modules_are_told_apart_by_the_variables_they_are_given():
    class Reader(nn.Module):
        value: nn.Variable

        @nn.compact
        def __call__(self, x):
            return x + self.value.value

    def program(mdl, x):
        a = mdl.variable("state", "a", lambda: 1.0)
        b = mdl.variable("state", "b", lambda: 2.0)
        read = nn.jit(Reader)
        return read(a)(x), read(b)(x), read(a)(x)

    y, _ = Net(program).init_with_output(KEY, jnp.zeros(()))
    assert y == (1, 2, 1)

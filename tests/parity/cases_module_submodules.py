"""Submodules: where they come from, what they are called, what they share."""

import functools
from typing import Any, NamedTuple

from jax import numpy as jnp

from .module_programs import KEY, X, case, normal, ones


@case
def setup_in_containers(l):
    class Box(NamedTuple):
        first: Any
        rest: Any

    class A(l.nn.Module):
        def setup(self):
            self.list = [l.Linear(2), l.Linear(3)]
            self.tuple = (l.Linear(2), [l.Linear(3)])
            self.dict = {"a": l.Linear(2), "b": {"c": l.Linear(3)}}
            self.frozen = l.core.FrozenDict({"a": l.Linear(2), "b": 3})
            self.named = Box(l.Linear(2), [l.Linear(3)])
            self.mixed = [1, None, "text", X, l.Linear(4)]

        def __call__(self, x):
            modules = [
                *self.list,
                self.tuple[0],
                *self.tuple[1],
                self.dict["a"],
                self.dict["b"]["c"],
                self.frozen["a"],
                self.named.first,
                *self.named.rest,
                self.mixed[-1],
            ]
            kinds = [
                type(v).__name__
                for v in (self.list, self.tuple, self.tuple[1], self.dict, self.named)
            ]
            return [m(x) for m in modules], [m.name for m in modules], kinds

    return A().init_with_output(KEY, X)


@case
def setup_with_integer_keys(l):
    class A(l.nn.Module):
        def setup(self):
            self.layers = {3: l.Linear(2), "x": l.Linear(3)}

        def __call__(self, x):
            return self.layers[3](x)

    return A().init(KEY, X)


@case
def setup_in_struct(l):
    @l.struct.dataclass
    class Box:
        first: Any
        rest: Any

    class A(l.nn.Module):
        def setup(self):
            self.box = Box(l.Linear(2), [l.Linear(3)])

        def __call__(self, x):
            return self.box.first(x), self.box.rest[0](x)

    return A().init_with_output(KEY, X)


@case
def struct_as_attribute(l):
    @l.struct.dataclass
    class Box:
        first: Any
        rest: Any

    class A(l.nn.Module):
        box: Any

        def __call__(self, x):
            return self.box.first(x), self.box.rest[0](x)

    return A(Box(l.Linear(2), [l.Linear(3)])).init_with_output(KEY, X)


@case
def attributes_frozen_types(l):
    class A(l.nn.Module):
        a: Any
        b: Any

        def setup(self):
            self.c = [1, [2]]
            self.d = {"a": [1, {"b": 2}]}

        def __call__(self):
            return [
                type(v).__name__
                for v in (self.a, self.b, self.c, self.c[1], self.d, self.d["a"])
            ] + [repr(self.d)]

    model = A([1, 2], {"k": [1]})
    return [model.apply({}), type(model.a).__name__, type(model.b).__name__]


@case
def submodules_as_attributes(l):
    class A(l.nn.Module):
        layers: Any
        head: Any = None

        @l.nn.compact
        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.head(x) if self.head is not None else x

    return [
        A([l.Linear(2), l.Linear(3)]).init_with_output(KEY, X),
        A((l.Linear(2), jnp.tanh, l.Linear(3)), head=l.Linear(1)).init(KEY, X),
        A([l.Linear(2, name="named")]).init(KEY, X),
    ]


@case
def shared_attribute(l):
    class A(l.nn.Module):
        first: Any
        second: Any

        def __call__(self, x):
            return self.second(x) + self.first(x)

    shared = l.Linear(3)
    return [
        A(shared, shared).init_with_output(KEY, X),
        A(l.Linear(3), l.Linear(3)).init(KEY, X),
    ]


@case
def shared_between_submodules(l):
    class User(l.nn.Module):
        layer: Any

        @l.nn.compact
        def __call__(self, x):
            return self.layer(x) + l.Linear(2)(x)

    class Compact(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            shared = l.Linear(2)
            return User(shared)(x) + User(shared)(x)

    class Setup(l.nn.Module):
        def setup(self):
            self.shared = l.Linear(2)
            self.one = User(self.shared)
            self.two = User(self.shared)

        def __call__(self, x):
            return self.one(x) + self.two(x)

    class Outside(l.nn.Module):
        one: Any
        two: Any

        def __call__(self, x):
            return self.one(x) + self.two(x)

    class Later(l.nn.Module):
        def setup(self):
            shared = l.Linear(2)
            self.one = User(shared)
            self.two = User(shared)

        def __call__(self, x):
            return self.two(x) + self.one(x)

    class Nested(l.nn.Module):
        inner: Any

        @l.nn.compact
        def __call__(self, x):
            return User(User(self.inner))(x) + self.inner(x)

    shared = l.Linear(2)
    return [
        Compact().init_with_output(KEY, X),
        Setup().init_with_output(KEY, X),
        Outside(User(shared), User(shared)).init_with_output(KEY, X),
        Later().init_with_output(KEY, X),
        Nested(shared).init_with_output(KEY, X),
    ]


@case
def passed_as_argument(l):
    class User(l.nn.Module):
        @l.nn.compact
        def __call__(self, layer, x):
            return layer(l.Linear(3)(x))

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return User()(l.Linear(2), x)

    return A().init_with_output(KEY, X)


@case
def outer_unbound_module_used_inside(l):
    outer = l.Linear(2)

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return outer(x)

    return A().init(KEY, X)


@case
def outer_unbound_module_as_attribute_in_setup(l):
    outer = l.Linear(2)

    class A(l.nn.Module):
        def setup(self):
            self.one = outer
            self.two = outer

        def __call__(self, x):
            return self.one(x) + self.two(x)

    return A().init_with_output(KEY, X)


@case
def outer_module_passed_to_inner_constructors(l):
    outer = l.Linear(2)

    class User(l.nn.Module):
        layer: Any

        def __call__(self, x):
            return self.layer(x)

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return User(outer)(x) + User(outer)(x)

    return [A().init_with_output(KEY, X), A().init_with_output(KEY, X)]


@case
def named_outer_module(l):
    class A(l.nn.Module):
        layer: Any

        def __call__(self, x):
            return self.layer(x)

    class B(l.nn.Module):
        layer: Any
        preserve_adopted_names = True

        def __call__(self, x):
            return self.layer(x)

    class Keeping(l.nn.Module):
        features: int = 2
        preserve_adopted_names = True

        @l.nn.compact
        def __call__(self, x):
            return x @ self.param("kernel", normal, (x.shape[-1], self.features))

    named = l.Linear(2, name="mine")
    return [
        A(named).init(KEY, X),
        B(named).init(KEY, X),
        A(Keeping(name="mine")).init(KEY, X),
        A(Keeping()).init(KEY, X),
    ]


@case
def detached(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            free = l.Linear(2, parent=None)
            variables = free.init(KEY, x)
            return free.apply(variables, x), l.Linear(3)(x)

    return A().init_with_output(KEY, X)


@case
def init_within_a_module(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            variables = l.Linear(2, parent=None).init(self.make_rng("params"), x)
            inner = self.param("inner", lambda key: variables["params"])
            return l.Linear(2, parent=None).apply({"params": inner}, x)

    return A().init_with_output(KEY, X)


@case
def setup_then_compact(l):
    class A(l.nn.Module):
        def setup(self):
            self.first = l.Linear(2)
            self.scale = self.param("scale", ones, (2,))

        @l.nn.compact
        def __call__(self, x):
            x = self.first(x) * self.scale
            return l.Linear(3)(x) + l.Linear(3)(x)

    return A().init_with_output(KEY, X)


@case
def setup_names_clash_with_compact(l):
    class A(l.nn.Module):
        def setup(self):
            self.first = l.Linear(2)

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(3, name="first")(x)

    return A().init(KEY, X)


@case
def compact_calls_other_methods(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return self.helper(x) + l.Linear(2)(x)

        def helper(self, x):
            return l.Linear(2)(x)

    return A().init_with_output(KEY, X)


@case
def setup_calls_methods(l):
    class A(l.nn.Module):
        def setup(self):
            self.a = self.make(2)
            self.b = self.make(3)

        def make(self, n):
            return l.Linear(n)

        def __call__(self, x):
            return self.a(x), self.b(x)

    return A().init_with_output(KEY, X)


@case
def submodule_in_plain_method(l):
    class A(l.nn.Module):
        def __call__(self, x):
            return l.Linear(2)(x)

    return A().init(KEY, X)


@case
def partial_in_setup(l):
    class A(l.nn.Module):
        def setup(self):
            self.make = functools.partial(l.Linear, features=3)

        def __call__(self, x):
            return self.make()(x)

    return A().init(KEY, X)


@case
def partial_used_in_compact(l):
    class A(l.nn.Module):
        make: Any = functools.partial(l.Linear, features=3)

        @l.nn.compact
        def __call__(self, x):
            return self.make()(x) + self.make(name="other")(x)

    return A().init(KEY, X)


@case
def two_compact_methods_of_one_class(l):
    class Base(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2)(x)

    class Sub(Base):
        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2)(super().__call__(x)) + l.Linear(2)(x)

    return Sub().init_with_output(KEY, X)


@case
def super_call_twice(l):
    class Base(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return l.Linear(3)(x)

    class Sub(Base):
        @l.nn.compact
        def __call__(self, x):
            return super().__call__(super().__call__(x))

    return Sub().init_with_output(KEY, X)


@case
def super_setup(l):
    class Base(l.nn.Module):
        def setup(self):
            self.a = l.Linear(2)

        def __call__(self, x):
            return self.a(x)

    class Sub(Base):
        def setup(self):
            super().setup()
            self.b = l.Linear(3)

        def __call__(self, x):
            return self.b(super().__call__(x))

    return Sub().init_with_output(KEY, X)

"""Setup and compact methods, attributes, and what else a class can hold."""

import functools
from typing import Any

from jax import numpy as jnp

from .module_programs import KEY, X, case, caught


@case
def recursion(l):
    class Tree(l.nn.Module):
        depth: int

        @l.nn.compact
        def __call__(self, x):
            x = l.Linear(3)(x)
            if self.depth:
                x = Tree(self.depth - 1)(x) + Tree(self.depth - 1)(x)
            return x

    return Tree(3).init_with_output(KEY, X)


@case
def recursion_on_self(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x, n):
            x = l.Linear(3)(x)
            return self(x, n - 1) if n else x

    return A().init_with_output(KEY, X, 2)


@case
def calling_twice_shares(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            layer = l.Pair()
            return layer(x) + layer(x), layer.encode(x)

    return A().init_with_output(KEY, X)


@case
def compact_called_twice_with_other_structure(l):
    class Inner(l.nn.Module):
        @l.nn.compact
        def __call__(self, x, wide):
            return l.Linear(5 if wide else 2)(x)

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            inner = Inner()
            return inner(x, True), inner(x, False)

    return A().init(KEY, X)


@case
def control_flow_names(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x, mode):
            encoder = l.Linear(4)
            decoder = l.Linear(2)
            return encoder(x) if mode else decoder(x)

    return [A().init(KEY, X, True), A().init(KEY, X, False)]


@case
def explicit_and_automatic_names(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            l.Linear(2, name="Linear_1")(x)
            l.Linear(2)(x)
            return l.Linear(2)(x)

    return A().init(KEY, X)


@case
def unused_submodules_have_no_parameters(l):
    class A(l.nn.Module):
        def setup(self):
            self.a = l.Linear(2)
            self.b = l.Linear(2)

        def __call__(self, x):
            return self.a(x)

    return A().init(KEY, X)


@case
def assigning_in_compact(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            self.layer = l.Linear(2)
            return self.layer(x)

    return A().init(KEY, X)


@case
def assigning_outside(l):
    model = l.Linear(2)
    first = caught(setattr, model, "other", 3)
    bound = l.Linear(2).bind({"params": {"kernel": jnp.ones((3, 2))}})
    return [
        first,
        getattr(model, "other", None),
        caught(setattr, model, "features", 3),
        model.features,
        caught(setattr, bound, "features", 3),
        caught(setattr, bound, "another", 3),
    ]


@case
def assigning_field_in_setup(l):
    class A(l.nn.Module):
        a: Any = None

        def setup(self):
            self.a = 3

        def __call__(self):
            return self.a

    return A().apply({})


@case
def reassigning_in_setup(l):
    class A(l.nn.Module):
        def setup(self):
            self.a = 3
            self.a = 4
            self.b = l.Linear(2)

        def __call__(self, x):
            return self.b(x), self.a

    class B(l.nn.Module):
        def setup(self):
            self.b = l.Linear(2)
            self.b = l.Linear(3)

        def __call__(self, x):
            return self.b(x)

    return [A().init_with_output(KEY, X), caught(B().init, KEY, X)]


@case
def same_module_on_two_attributes(l):
    class A(l.nn.Module):
        def setup(self):
            self.a = l.Linear(2)
            self.b = self.a
            self.c = [self.a, l.Linear(3)]

        def __call__(self, x):
            return self.b(x), self.a(x), self.c[1](x), self.b.name

    return A().init_with_output(KEY, X)


@case
def setup_is_lazy(l):
    log = []

    class Inner(l.nn.Module):
        def setup(self):
            log.append("inner")
            self.value = 3

        def __call__(self):
            return self.value

    class A(l.nn.Module):
        def setup(self):
            log.append("before")
            self.a = Inner()
            self.b = Inner()
            log.append("after")

        def __call__(self):
            log.append("call")
            return self.b.value

    A().apply({})
    return log


@case
def access_of_setup_attributes_from_outside(l):
    model = l.Pair()
    variables = model.init(KEY, X)
    return [
        hasattr(model, "a"),
        caught(lambda: model.a),
        model.bind(variables).a.features,
        model.bind(variables).a(X),
        model.apply(variables, X, method=lambda m, x: m.b(m.a(x))),
        l.nn.apply(lambda m: m.a.clone(), model)({}).features,
    ]


@case
def setup_by_hand(l):
    return l.Pair().setup()


@case
def calling_unbound(l):
    return l.Linear(2)(X)


@case
def calling_unbound_setup_module(l):
    return l.Pair()(X)


@case
def error_in_setup_then_again(l):
    fail = [True]

    class A(l.nn.Module):
        def setup(self):
            self.a = l.Linear(2)
            if fail[0]:
                raise ValueError("no")

        def __call__(self, x):
            return self.a(x)

    model = A()
    first = caught(model.init, KEY, X)
    fail[0] = False
    return [first, model.init(KEY, X)]


@case
def hidden_attribute_error_in_setup(l):
    class A(l.nn.Module):
        def setup(self):
            self.a = self.missing

        def __call__(self, x):
            return x

    return A().init(KEY, X)


@case
def nowrap(l):
    class A(l.nn.Module):
        @l.nn.nowrap
        def make(self, n):
            return l.Linear(n)

        @l.nn.nowrap
        def twice(self, n):
            return 2 * n

        @l.nn.compact
        def __call__(self, x):
            return self.make(2)(x)

    return [A().init(KEY, X), A().twice(3), A().make(2).features]


@case
def static_and_class_methods(l):
    class A(l.nn.Module):
        width: int = 2

        @staticmethod
        def double(n):
            return 2 * n

        @classmethod
        def wide(cls):
            return cls(width=7)

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(self.double(self.width))(x)

    return [A.wide().init(KEY, X), A.double(3), A().double(4)]


@case
def properties(l):
    class A(l.nn.Module):
        width: int = 2

        def setup(self):
            self.layer = l.Linear(self.width)

        @property
        def doubled(self):
            return 2 * self.width

        @property
        def inner(self):
            return self.layer

        @property
        def broken(self):
            return self.missing

        @functools.cached_property
        def cached(self):
            return self.width + 1

        def __call__(self, x):
            return self.inner(x) * self.doubled

        def use_broken(self):
            return self.broken

        def use_cached(self):
            return self.cached, self.cached

    return [
        A().doubled,
        caught(lambda: A().inner),
        caught(lambda: A().broken),
        A().init_with_output(KEY, X),
        caught(lambda: A().apply({}, method="use_broken")),
        caught(lambda: A().apply({}, method="use_cached")),
        caught(lambda: A().cached),
        type(A.doubled).__name__,
    ]


@case
def property_with_setter(l):
    class A(l.nn.Module):
        def setup(self):
            self.thing = 3

        @property
        def thing(self):
            return self._thing

        @thing.setter
        def thing(self, value):
            self._thing = value * 2

        def __call__(self):
            return self.thing

    return A().apply({})


@case
def descriptors(l):
    class Ten:
        def __get__(self, obj, owner=None):
            return 10

    class A(l.nn.Module):
        ten = Ten()

        def __call__(self):
            return self.ten

    return [A().apply({}), A().ten]


@case
def special_methods(l):
    class A(l.nn.Module):
        width: int = 3

        def __len__(self):
            return self.width

        def __getitem__(self, index):
            return self.width + index

        def __add__(self, other):
            return self.width + other

        def __call__(self):
            return len(self), self[4], self + 1, list(zip(range(2), [self[0], self[1]]))

    return [A().apply({}), len(A()), A()[2], A() + 5]


@case
def hasattr_and_dir(l):
    class A(l.nn.Module):
        def setup(self):
            self.layer = l.Linear(2)

        def __call__(self, x):
            return (
                hasattr(self, "layer"),
                hasattr(self, "missing"),
                getattr(self, "missing", 3),
                "layer" in dir(self),
                "missing" in dir(self),
            )

    return [A().apply({}, X), hasattr(A(), "layer"), "setup" in dir(A())]


@case
def attribute_of_unbound(l):
    return l.Linear(2).missing


@case
def generators(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            for y in self.layers(x):
                x = y
            return x

        def layers(self, x):
            for _ in range(3):
                yield l.Linear(3)(x)

    return A().init(KEY, X)


@case
def caught_within_a_method(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            first = caught(l.Linear(2), 3)
            return first, l.Linear(4)(x)

    return A().init_with_output(KEY, X)

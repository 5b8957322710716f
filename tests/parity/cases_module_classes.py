"""Module classes: fields, constructors, inheritance, equality, text."""

import abc
import copy
import dataclasses
import functools
from typing import Any, Generic, TypeVar

import jax

from .module_programs import KEY, X, case, caught, differs


@case
def fields_and_defaults(l):
    class A(l.nn.Module):
        a: int
        b: str = "b"
        c: Any = dataclasses.field(default_factory=dict)

        def __call__(self):
            return self.a, self.b, self.c

    class B(A):
        d: float = 0.5

    return [
        [f.name for f in dataclasses.fields(B) if f.name not in ("parent", "name")],
        B(1).apply({}),
        B(1, "x", {"k": 2}, 1.5).d,
        B(a=3, name="n").name,
        B(1) == B(1),
        B(1) == B(2),
        B(1) == A(1),
        A(1, "n").name,
    ]


@case
def positional_name_is_refused(l):
    return l.Linear(2, None, "name").name


@case
def missing_field(l):
    class A(l.nn.Module):
        a: int

    return A()


@case
def class_level_kw_only(l):
    class A(l.nn.Module):
        a: int = 1

    class B(A, kw_only=True):
        b: int

    class C(B):
        c: int = 2

    return [
        B(b=3).b,
        B(5, b=3).a,
        C(1, 2, b=4).c,
        caught(lambda: B(1, 2)),
        caught(lambda: B()),
    ]


@case
def kw_only_field(l):
    class A(l.nn.Module):
        a: int = dataclasses.field(default=1, kw_only=True)
        b: int = 2

    return [A(3).b, A(3, a=4).a]


@case
def required_after_default_is_refused(l):
    class A(l.nn.Module):
        a: int = 1
        b: int

    return 1


@case
def generics(l):
    T = TypeVar("T")

    class A(l.nn.Module, Generic[T]):
        a: Any

        def __call__(self):
            return self.a

    class B(A[int]):
        b: int = 2

    return [A[int](3).apply({}), B(4).apply({}), type(A[int](3)).__name__, B(4).b]


@case
def post_init(l):
    class A(l.nn.Module):
        x: float

        def __post_init__(self):
            self.square = self.x**2
            super().__post_init__()

        def __call__(self):
            return self.square

    return [A(3).square, A(3).apply({}), A(3).clone(x=4).square]


@case
def post_init_changes_a_field(l):
    class A(l.nn.Module):
        sizes: Any

        def __post_init__(self):
            self.sizes = tuple(self.sizes)
            super().__post_init__()

        @l.nn.compact
        def __call__(self, x):
            for size in self.sizes:
                x = l.Linear(size)(x)
            return x

    return A([3, 2]).init(KEY, X)


@case
def post_init_without_super(l):
    class A(l.nn.Module):
        x: float

        def __post_init__(self):
            self.square = self.x**2

        @l.nn.compact
        def __call__(self, y):
            return y

    return A(3.0).init(KEY, X)


@case
def post_init_of_a_subclass_sets_submodule(l):
    class A(l.nn.Module):
        def __post_init__(self):
            self.dense = l.Linear(2)
            super().__post_init__()

        def __call__(self, x):
            return self.dense(x)

    return A().init(KEY, X)


@differs(
    "flax 0.12 lets a module annotate `name: str`; the documentation reserves it",
    ("error", "ReservedModuleAttributeError"),
)
def reserved_name(l):
    class A(l.nn.Module):
        name: str = "x"

    return A()


@case
def reserved_parent(l):
    class A(l.nn.Module):
        parent: Any = None

    return A()


@case
def user_init(l):
    class A(l.nn.Module):
        features: int

        def __init__(self, size, name=None, parent=None):
            self.features = 2 * size
            super().__post_init__()

        def __call__(self, x):
            return x

    return [A(2).features]


@case
def class_attributes_are_no_fields(l):
    class A(l.nn.Module):
        a = 3
        b: int = 4

        def __call__(self):
            return self.a + self.b

    return [A().apply({}), caught(lambda: A(a=2)), A(b=1).apply({})]


@case
def class_var(l):
    from typing import ClassVar

    class A(l.nn.Module):
        a: ClassVar[int] = 3
        b: int = 4

        def __call__(self):
            return self.a + self.b

    return [A(b=2).apply({}), caught(lambda: A(a=2))]


@case
def abstract_classes(l):
    class Base(l.nn.Module, abc.ABC):
        @abc.abstractmethod
        def size(self):
            pass

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(self.size())(x)

    class Sub(Base):
        def size(self):
            return 3

    return [caught(Base), Sub().init(KEY, X)]


@case
def multiple_inheritance(l):
    class A(l.nn.Module):
        a: int = 1

        def __call__(self, x):
            return x + self.a

    class Mixin:
        def helper(self):
            return self.a * 10

    class B(Mixin, A):
        b: int = 2

        def __call__(self, x):
            return super().__call__(x) + self.helper() + self.b

    class C(l.nn.Module):
        c: int = 5

    class D(A, C):
        pass

    return [B().apply({}, 1), [f.name for f in dataclasses.fields(D)][:2], D().c]


@case
def non_module_base_with_fields(l):
    @dataclasses.dataclass
    class Options:
        width: int = 3

    class A(Options, l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return l.Linear(self.width)(x)

    return A(width=4).init(KEY, X)


@case
def replace(l):
    model = dataclasses.replace(l.Linear(2), features=5)
    return [model.features, model.init(KEY, X)]


@case
def hashes(l):
    class A(l.nn.Module):
        a: Any

    return [
        hash(A(1)) == hash(A(1)),
        {A(1): 2}[A(1)],
        caught(hash, A([1])),
        caught(hash, A({"a": 1})),
        len({A(1), A(2), A(1)}),
    ]


@case
def reprs(l):
    nn = l.nn

    class Inner(nn.Module):
        width: int
        act: Any = jax.nn.relu
        options: Any = None

    class Outer(nn.Module):
        inner: Any
        layers: Any = ()
        cls: Any = Inner
        hidden: Any = dataclasses.field(default=3, repr=False)

        @nn.compact
        def __call__(self, x):
            l.Linear(2, name="first")(x)
            return repr(self)

    class Empty(nn.Module):
        pass

    class Named(nn.Module):
        def setup(self):
            self.a = Empty()
            self.b = [Inner(1), Inner(2)]

        def __call__(self):
            _ = self.a, self.b
            return repr(self)

    class Plain(nn.Module):
        def setup(self):
            self.empty = Empty()

        def __call__(self):
            return repr(self.empty), repr(self)

    outer = Outer(Inner(2, options={"a": (1, 2)}), [Inner(3), Empty()])
    return [
        repr(outer),
        repr(Empty()),
        repr(Empty(name="n")),
        repr(Inner("text", functools.partial(int, "3"))),
        outer.init_with_output(KEY, X)[0],
        Named().apply({}),
        Plain().apply({}),
        repr(l.Pair()),
        repr(l.Pair().bind({"params": {}})),
        str(l.Linear(2)),
    ]


@case
def constructor_arguments(l):
    class A(l.nn.Module):
        a: int = 1
        c: int = dataclasses.field(init=False, default=5)
        d: Any = dataclasses.field(init=False)
        e: Any = dataclasses.field(init=False, default_factory=list)
        f: Any = dataclasses.field(default_factory=lambda: l.Linear(3))

        def __post_init__(self):
            self.d = self.a * 2
            super().__post_init__()

        def __call__(self, x):
            return self.a, self.c, self.d, self.e, self.f(x)

    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return A()(x)

    match A(2):
        case A(a):
            pass
    return [A(4).init_with_output(KEY, X), B().init(KEY, X), A() == A(), a]


@case
def module_as_default(l):
    class A(l.nn.Module):
        a: Any = l.Linear(3)

        def __call__(self, x):
            return self.a(x)

    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return A()(A()(x))

    return [A().init(KEY, X), B().init(KEY, X)]


@case
def callable_struct_as_attribute(l):
    class Partial(l.struct.PyTreeNode):
        fn: Any = l.struct.field(pytree_node=False)
        args: Any

        def __call__(self, *args):
            return self.fn(*self.args, *args)

    class A(l.nn.Module):
        fn: Any

        def __call__(self, x):
            return self.fn(x)

    return A(Partial(lambda m, x: m(x), [l.Linear(2)])).init(KEY, X)


@case
def overridden_dunders(l):
    class A(l.nn.Module):
        a: int

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 3

        def __repr__(self):
            return "mine"

    @dataclasses.dataclass
    class B(l.nn.Module):
        a: int

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(self.a)(x)

    return [
        A(1) == A(2),
        hash(A(1)),
        repr(A(1)),
        B(2).init(KEY, X),
        B(2) == B(2),
        hash(B(2)) == hash(B(2)),
    ]


@case
def hash_of_bound(l):
    return hash(l.Linear(2).bind({}))


@case
def equality_of_bound(l):
    bound = l.Linear(2).bind({})
    return [
        bound == l.Linear(2),
        bound == l.Linear(2).bind({}),
        bound == bound,
        bound.clone() == l.Linear(2),
    ]


@case
def children_in_reprs(l):
    class A(l.nn.Module):
        layers: Any

        @l.nn.compact
        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return repr(self)

    return A([l.Linear(2), l.Linear(3)]).init_with_output(KEY, X)[0]


@case
def clone(l):
    class A(l.nn.Module):
        layer: Any
        width: int = 3

        def __call__(self, x):
            return self.layer(x)

    model = A(l.Linear(2), name="m")
    copied = model.clone(width=5)
    return [
        copied.width,
        copied.name,
        copied.layer is model.layer,
        copied == model,
        model.clone() == model,
        model.clone(name="other").name,
        caught(lambda: model.clone(missing=3)),
        model.copy(width=4).width,
        model.copy().name,
        model.copy(name="z").name,
    ]


@case
def clone_inside(l):
    class A(l.nn.Module):
        def setup(self):
            self.a = l.Linear(2)
            self.b = self.a.clone()
            self.c = self.a.copy()

        def __call__(self, x):
            return self.a(x), self.b(x), self.c(x)

    class B(l.nn.Module):
        block: Any

        @l.nn.compact
        def __call__(self, x):
            for _ in range(3):
                x = self.block.copy()(x)
            return x

    class C(l.nn.Module):
        block: Any

        @l.nn.compact
        def __call__(self, x):
            for i in range(3):
                x = self.block.clone(parent=self, name=f"block{i}")(x)
            return x

    return [
        caught(A().init_with_output, KEY, X),
        caught(B(l.Linear(3)).init_with_output, KEY, X),
        caught(C(l.Linear(3)).init_with_output, KEY, X),
        caught(C(l.Pair()).init_with_output, KEY, X),
    ]


@case
def deepcopy(l):
    class A(l.nn.Module):
        layers: Any

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    model = A([l.Linear(2), l.Linear(3)], name="m")
    copied = copy.deepcopy(model)
    shallow = copy.copy(model)
    return [
        copied == model,
        copied.layers[0] is model.layers[0],
        copied.init(KEY, X),
        shallow.init(KEY, X),
        copied.name,
        copied.parent is None,
    ]

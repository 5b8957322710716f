"""What a module class is when it has been made."""

import abc
import dataclasses
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core.config import config
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Affine(nn.Module):
    features: int
    scale: float = 1.0
    tags: Any = dataclasses.field(default_factory=list)

    @nn.compact
    def __call__(self, x):
        return self.scale * nn.Dense(self.features)(x)


class Wide(Affine):
    width: int = 7


def test_constructor():
    model = Affine(3, tags=["a"])
    assert (model.features, model.scale, model.tags) == (3, 1.0, ["a"])
    assert Affine(1).tags == [] and Affine(1).tags is not Affine(1).tags
    assert Wide(1, 2.0, [], 9).width == 9
    assert [f.name for f in dataclasses.fields(Wide)] == [
        *("features", "scale", "tags", "width", "parent", "name"),
    ]
    signature = inspect.signature(Affine)
    assert list(signature.parameters) == [
        *("features", "scale", "tags", "parent", "name"),
    ]
    assert signature.parameters["name"].kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.parameters["scale"].default == 1.0
    assert Affine.__match_args__ == ("features", "scale", "tags")


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing 1 required positional argument: 'features'"),
        ((1, 2, 3, 4), {}, "takes from 2 to 4 positional arguments but 5"),
        ((1,), {"fetures": 2}, "unexpected keyword argument 'fetures'"),
        ((1,), {"features": 2}, "multiple values for argument 'features'"),
    ],
)
def test_wrong_arguments(args, kwargs, message):
    with pytest.raises(TypeError, match=message):
        Affine(*args, **kwargs)


def test_fields_that_are_no_arguments():
    class Model(nn.Module):
        a: int
        doubled: int = dataclasses.field(init=False)
        log: list = dataclasses.field(init=False, default_factory=list)
        kind: ClassVar[str] = "model"

        def __post_init__(self):
            self.doubled = 2 * self.a
            super().__post_init__()

    model = Model(3)
    assert (model.doubled, model.log, model.kind) == (6, [], "model")
    assert repr(model) == "Model(\n    # attributes\n    a = 3\n)"
    assert model.clone(a=4).doubled == 8


def test_init_var():
    class Model(nn.Module):
        width: dataclasses.InitVar[int]

        def __post_init__(self, width):
            self.total = 2 * width
            super().__post_init__()

    assert Model(4).total == 8


def test_class_level_keyword_only():
    class Model(nn.Module, kw_only=True):
        a: int

    class Sub(Model):
        b: int = 2

    assert (Sub(5, a=1).b, Sub(a=3).a) == (5, 3)
    with pytest.raises(TypeError, match="positional argument"):
        Model(1)


def test_fields_with_awkward_names():
    class Model(nn.Module):
        self: int
        cls: int = 1
        values: Any = dataclasses.field(default_factory=dict)
        __: int = 3

    model = Model(4)
    assert vars(model)["self"] == 4
    assert (model.cls, model.values) == (1, {})


def test_generic_classes():
    T = TypeVar("T")

    class Box(nn.Module, Generic[T]):
        value: Any

        def __call__(self):
            return self.value

    class IntBox(Box[int]):
        pass

    assert Box[int](3).apply({}) == IntBox(3).apply({}) == 3


def test_abstract_classes():
    class Base(nn.Module, abc.ABC):
        @abc.abstractmethod
        def width(self): ...

    class Sub(Base):
        def width(self):
            return 3

    with pytest.raises(TypeError, match="abstract"):
        Base()
    assert Sub().width() == 3


def test_constructor_of_the_users_own():
    class Model(nn.Module):
        features: int

        def __init__(self, half, name=None, parent=None):
            self.features, self.name, self.parent = 2 * half, name, parent
            super().__post_init__()

        def __call__(self):
            return self.features

    model = Model(2)
    assert (model.features, model.name, model.parent) == (4, None, None)


def test_setattr_of_the_users_own():
    class Model(nn.Module):
        a: int

        def __setattr__(self, name, value):
            super().__setattr__(name, value + 1 if name == "a" else value)

    assert Model(1).a == 2


def test_property_behind_a_field():
    def negate(self, value):
        vars(self)["hidden"] = -value

    body = {
        "__annotations__": {"b": int},
        "b": property(lambda self: vars(self)["hidden"], negate),
        "__module__": __name__,
    }
    assert type(nn.Module)("Model", (nn.Module,), body)(3).b == -3


def test_decorated_as_a_dataclass_again():
    @dataclasses.dataclass
    class Model(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(x)

    assert Model(2).init_with_output(KEY, X)[0].shape == (2, 2)
    assert Model(2) == Model(2)


def test_equality_and_hash():
    assert Affine(1, 2.0, ()) == Affine(1, 2.0, ())
    assert Affine(1) != Affine(2) and Affine(1) != Wide(1)
    assert hash(Affine(1, 2.0, ())) == hash(Affine(1, 2.0, ()))
    assert nn.Dense(3) in {nn.Dense(3)}
    with pytest.raises(TypeError, match=r"Failed to hash Module.*\n.*\n *features = 1"):
        hash(Affine(1))
    with pytest.raises(TypeError, match="Can't hash a bound Dense"):
        hash(nn.Dense(2).bind({}))


def test_module_itself():
    assert repr(nn.Module()) == "Module()"
    assert pickle.loads(pickle.dumps(nn.Module())) == nn.Module()


@pytest.mark.parametrize("name", ["parent", "name"])
def test_reserved_names(name):
    with pytest.raises(
        errors.ReservedModuleAttributeError, match=f"reserved.*'{name}'.*Rename"
    ):
        type(nn.Module)(
            "Model", (nn.Module,), {"__annotations__": {name: int}, "__module__": "m"}
        )


def test_two_compact_methods():
    with pytest.raises(
        errors.MultipleMethodsCompactError, match='Only one method of Two.*"f", "g" are'
    ):

        class Two(nn.Module):
            @nn.compact
            def f(self):
                pass

            @nn.compact
            def g(self):
                pass


@config.temp_flip_flag("documented_checks", False)
def test_what_later_versions_take_without_documented_checks():
    class Model(nn.Module):
        features: int = 3
        name: str = "unused"  # type: ignore[assignment]

        @nn.compact
        def __call__(self, x):
            return self.decode(nn.Dense(self.features)(x))

        @nn.compact
        def decode(self, x):
            return nn.Dense(2)(x)

    assert Model().name is None and Model(name="other").name == "other"
    assert Model(4).features == 4
    params = Model().init(KEY, X)["params"]
    assert params["Dense_0"]["kernel"].shape == (3, 3)
    assert params["Dense_1"]["kernel"].shape == (3, 2)
    with pytest.raises(errors.ReservedModuleAttributeError, match="'parent'"):

        class Other(nn.Module):
            parent: Any = None


def test_post_init_without_super():
    class Model(nn.Module):
        x: float

        def __post_init__(self):
            self.square = self.x**2

        @nn.compact
        def __call__(self, y):
            return y

    with pytest.raises(
        errors.IncorrectPostInitOverrideError,
        match=r"`__post_init__` of Model .* `super\(\).__post_init__\(\)`",
    ):
        Model(3.0).init(KEY, X)


def test_construction_does_not_go_through_setattr():
    # The point of the generated constructor: no guard is asked about any argument.
    calls = []
    guard = nn.Module.__setattr__

    def counting(self, name, value):
        calls.append(name)
        guard(self, name, value)

    counting.is_default_setattr = True
    nn.Module.__setattr__ = counting
    try:
        nn.Dense(3)
    finally:
        nn.Module.__setattr__ = guard
    assert calls == []


def test_defaults_are_evaluated_once_and_factories_each_time():
    made = []

    def factory():
        made.append(nn.Dense(2))
        return made[-1]

    class Model(nn.Module):
        layer: Any = dataclasses.field(default_factory=factory)
        act: Callable[..., Any] = nn.relu

    assert Model().layer is made[0] and Model().layer is made[1]
    assert Model(nn.Dense(3)).layer.features == 3 and len(made) == 2


def test_unused_things_are_freed():
    before = sys.getrefcount(X)
    Affine(1, tags=X)
    assert sys.getrefcount(X) == before

"""The constructor that module classes are given."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

import batiste.linen as nn


class Affine(nn.Module):
    features: int
    scale: float = 1.0
    tags: Any = dataclasses.field(default_factory=list)


class Wide(Affine):
    width: int = 7


def test_constructor():
    model = Affine(3, tags=["a"])
    assert (model.features, model.scale, model.tags) == (3, 1.0, ["a"])
    assert Affine(1).tags == []
    assert Affine(1).tags is not Affine(1).tags
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


def test_construction_does_not_go_through_setattr():
    # The point of the generated constructor: no guard is asked about any argument.
    calls = []
    guard = nn.Module.__setattr__

    def counting(self, name, value):
        calls.append(name)
        guard(self, name, value)

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

    assert Model().layer is made[0]
    assert Model().layer is made[1]
    assert Model(nn.Dense(3)).layer.features == 3
    assert len(made) == 2

"""What a module class is when it has been made."""

import abc
import dataclasses
import pickle
import sys
from typing import Any, Generic, TypeVar

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
    assert Affine(1) != Affine(2)
    assert Affine(1) != Wide(1)
    assert hash(Affine(1, 2.0, ())) == hash(Affine(1, 2.0, ()))
    assert nn.Dense(3) in {nn.Dense(3)}
    with pytest.raises(TypeError, match=r"has no hash \(.*\n.*\n *features = 1"):
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

    assert Model().name is None
    assert Model(name="other").name == "other"
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


def test_unused_things_are_freed():
    before = sys.getrefcount(X)
    Affine(1, tags=X)
    assert sys.getrefcount(X) == before

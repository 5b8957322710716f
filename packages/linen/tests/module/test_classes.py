"""What a module class is when it has been made."""

import abc
import copy
import dataclasses
import inspect
import pickle
import sys
import typing
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


def test_methods_before_the_module_is_made():
    seen = []

    class Model(nn.Module):
        width: int

        def __post_init__(self):
            assert self.scope is None
            assert self.double() == self.twice == 2 * self.width
            self.width2 = self.double()
            with pytest.raises(errors.CallCompactUnboundModuleError):
                self(X)
            with pytest.raises(AttributeError, match="missing"):
                _ = self.missing
            super().__post_init__()
            seen.append(self.scope is None)
            assert self.double() == self.twice == self.width2

        def double(self):
            return 2 * self.width

        @property
        def twice(self):
            return 2 * self.width

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.width2)(x)

    class Sub(Model):
        depth: int = 1

        def __post_init__(self):
            assert self.double() == 2 * self.width
            super().__post_init__()

    class Outer(nn.Module):
        def setup(self):
            self.inner = Sub(4)

        def __call__(self, x):
            return Model(3, parent=None).double() + self.inner(x)

    for cls in (Model, Sub):
        assert cls(3).init(KEY, X)["params"]["Dense_0"]["kernel"].shape[-1] == 6
    assert Outer().init(KEY, X)["params"]["inner"]["Dense_0"]["kernel"].shape[-1] == 8
    assert False in seen
    assert True in seen


def test_what_is_preliminary_does_not_stay():
    class Forgets(nn.Module):
        def __post_init__(self):
            self.helper()

        def helper(self):
            return 3

    with pytest.raises(errors.IncorrectPostInitOverrideError):
        Forgets().helper()

    class Fails(nn.Module):
        def __post_init__(self):
            raise ValueError("Not like this.")

    with pytest.raises(ValueError, match="Not like this"):
        Fails()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_keyword_only_fields_stay_keyword_only(levels):
    class Base(nn.Module):
        first: int
        option: int = dataclasses.field(default=1, kw_only=True)
        needed: str = dataclasses.field(kw_only=True)

    made: Any = Base
    for level in range(levels):

        class Sub(made):
            option: int = 10 + level
            needed: str
            last: int = level

        made = Sub
    module = made(3, 4, needed="a")
    assert (module.first, module.last, module.option) == (3, 4, 9 + levels)
    assert made(3, needed="a", option=5).option == 5
    kinds = {p.kind.name for n, p in inspect.signature(made).parameters.items()
             if n in ("option", "needed")}  # fmt: skip
    assert kinds == {"KEYWORD_ONLY"}
    with pytest.raises(TypeError):
        made(3, 4, 5, 6, needed="a")

    class Positional(Base):
        option: int = dataclasses.field(default=7, kw_only=False)

    assert Positional(3, 8, needed="a").option == 8

    class Factory(Base):
        option: Any = dataclasses.field(default_factory=list)

    assert Factory(3, needed="a").option == []

    class Retyped(Base):
        option: float

    assert Retyped(3, needed="a").option == 1


@pytest.mark.parametrize(
    "cls",
    [c for _, c in inspect.getmembers(nn, inspect.isclass) if issubclass(c, nn.Module)],
)
def test_type_hints_of_all_layers_and_their_subclasses(cls):
    class Sub(cls):
        extra: int = 1

        def __call__(self, x: int = 1) -> int:
            return x

    for target in (cls, Sub):
        hints = typing.get_type_hints(target)
        assert {"name", "parent", "scope"} <= set(hints)
        assert {"name", "parent"} <= set(typing.get_type_hints(target.__init__))
    assert typing.get_type_hints(Sub)["extra"] is int


@pytest.mark.skipif(not hasattr(copy, "replace"), reason="Python 3.13 has it")
def test_what_dataclasses_are_given_is_no_method_of_a_module():
    model = nn.Dense(3, name="layer")
    seen = []

    def note(next_fun, args, kwargs, context):
        seen.append(context.method_name)
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        other = copy.replace(model, features=4)
    assert seen == []
    assert (other.features, other.name) == (4, "layer")
    assert other == dataclasses.replace(model, features=4)
    with pytest.raises(TypeError, match="unexpected keyword argument 'width'"):
        copy.replace(model, width=4)

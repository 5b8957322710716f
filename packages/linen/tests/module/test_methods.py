"""What happens around a module's method when it is called."""

import contextlib
import functools

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core.config import config
from batiste.linen import errors
from batiste.linen.module.context import context

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Model(nn.Module):
    width: int = 2

    def setup(self):
        self.layer = nn.Dense(self.width)

    def __call__(self, x):
        return self.layer(x)

    @nn.nowrap
    def make(self):
        return nn.Dense(self.width)

    @property
    def doubled(self):
        """Twice the width."""
        return 2 * self.width

    @property
    def inner(self):
        return self.layer

    @property
    def broken(self):
        return self.missing

    @functools.cached_property
    def cached(self):
        return [self.layer]

    @staticmethod
    def static(n):
        return n + 1

    @classmethod
    def of_width(cls, width):
        return cls(width)

    def __len__(self):
        return self.width


def test_plain_python_around():
    assert len(Model()) == 2
    assert Model.static(1) == Model().static(1) == 2
    assert Model.of_width(5).width == 5
    assert Model().doubled == 4
    assert Model.doubled.__doc__ == "Twice the width."
    assert Model.__call__.__name__ == "__call__"


def test_properties_run_setup():
    bound = Model().bind({})
    assert bound.inner.features == 2
    assert bound.cached is bound.cached
    with pytest.raises(
        errors.DescriptorAttributeError, match='property "inner" of Model read an attri'
    ) as caught:
        Model().inner  # noqa: B018
    assert 'no attribute "layer"' in str(caught.value.__cause__)
    with pytest.raises(errors.DescriptorAttributeError, match='property "broken"'):
        bound.broken  # noqa: B018


def test_descriptors():
    class Ten:
        def __get__(self, obj, owner=None):
            return 10 if obj is not None else self

    class WithTen(nn.Module):
        ten = Ten()

    assert WithTen().ten == 10
    assert isinstance(WithTen.ten, Ten)


def test_compact_on_unbound():
    with pytest.raises(
        errors.CallCompactUnboundModuleError, match="A method of Dense that needs"
    ):
        nn.Dense(2)(X)


def test_nowrap():
    class Compact(Model):
        def setup(self):
            pass

        @nn.compact
        def __call__(self, x):
            return self.make()(x)

    assert Model().make() == nn.Dense(2)
    assert set(Compact().init(KEY, X)["params"]) == {"Dense_0"}


def test_functions_in_the_class_body_need_not_be_methods():
    class Odd(nn.Module):
        def double(n):
            return 2 * n

        four = double(2)

    assert Odd.four == 4
    assert Odd.double(3) == 6


def test_calling_itself():
    class Again(nn.Module):
        @nn.compact
        def __call__(self, x, n):
            x = nn.Dense(3)(x)
            return self(x, n - 1) if n else x

    assert len(Again().init(KEY, X, 2)["params"]) == 3


def test_state_after_an_error():
    fails = [True]

    class Fails(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(2)(x)
            if fails[0]:
                raise KeyError
            return nn.Dense(2)(x)

    fails[0] = False
    variables = Fails().init(KEY, X)
    bound = Fails().bind(variables)
    y = bound(X)
    fails[0] = True
    with pytest.raises(KeyError):
        bound(X)
    fails[0] = False
    assert (bound(X) == y).all()
    assert nn.Dense(2).parent is None


def test_an_error_caught_within():
    class Catches(nn.Module):
        @nn.compact
        def __call__(self, x):
            with contextlib.suppress(Exception):
                nn.Dense(2)(None)
            return nn.Dense(2)(x)

    assert set(Catches().init(KEY, X)["params"]) == {"Dense_1"}


def test_generators():
    class Gives(nn.Module):
        @nn.compact
        def __call__(self, x):
            for y in self.layers(x):
                x = y
            return x

        def layers(self, x):
            for _ in range(2):
                yield nn.Dense(3)(x)

    assert len(Gives().init(KEY, X)["params"]) == 2


# compact_name_scope.


class Coder(nn.Module):
    @nn.compact_name_scope
    def encode(self, x):
        return nn.Dense(3)(nn.Dense(3)(x))

    @nn.compact_name_scope
    def decode(self, x):
        """Undoes what `encode` does."""
        return nn.Dense(3)(x)

    def __call__(self, x):
        return self.decode(self.encode(x)) + self.decode(x)


def test_each_name_scope_has_its_names():
    variables = Coder().init(KEY, X)
    shapes = {k: sorted(v) for k, v in variables["params"].items()}
    assert shapes == {"encode": ["Dense_0", "Dense_1"], "decode": ["Dense_0"]}
    assert set(Coder().init(KEY, X, method="decode")["params"]) == {"decode"}
    bound = Coder().bind(variables)
    assert (bound(X) == bound(X)).all()
    assert (bound.decode(X) == Coder().apply(variables, X, method="decode")).all()
    assert Coder.decode.__doc__ == "Undoes what `encode` does."


def test_name_scopes_overridden():
    class Sub(Coder):
        @nn.compact_name_scope
        def decode(self, x):
            return nn.Dense(3)(super().decode(x))

    params = Sub().init(KEY, X, method="decode")["params"]
    assert set(params["decode"]) == {"Dense_0", "Dense_1"}


def test_name_scope_on_unbound():
    with pytest.raises(errors.CallCompactUnboundModuleError, match="method of Coder"):
        Coder().decode(X)


def test_name_scope_clash():
    class Model(nn.Module):
        @nn.compact_name_scope
        def up(self, x):
            return nn.Dense(3)(x)

        @nn.compact
        def __call__(self, x):
            return self.up(nn.Dense(3, name="up")(x))

    with pytest.raises(errors.NameInUseError, match='submodule "up" in module Model'):
        Model().init(KEY, X)


def test_name_scope_has_no_variables_of_the_module_itself():
    class Model(nn.Module):
        @nn.compact_name_scope
        def up(self, x):
            return self.param("p", nn.initializers.ones, (1,))

    with pytest.raises(ValueError, match='parameter "p" of Model'):
        Model().init(KEY, X, method="up")


class Parts(nn.Module):
    def setup(self):
        self.dense = nn.Dense(2)

    @property
    def width(self):
        return 2

    def plain(self, x):
        return self.dense(x) * self.width

    def __call__(self, x):
        return self.plain(x)


def test_an_interrupt_at_any_step_leaves_no_running_module(monkeypatch):
    class Interrupting(list):
        """Modules that run; Ctrl-C comes right after one was added."""

        left = 0

        def append(self, module):
            super().append(module)
            Interrupting.left -= 1
            if Interrupting.left == 0:
                raise KeyboardInterrupt

    modules = Interrupting()
    monkeypatch.setattr(context, "modules", modules)
    x = jnp.ones((1, 3))
    variables = Parts().init(jax.random.key(0), x)
    Interrupting.left = 0
    Parts().apply(variables, x)
    steps = -Interrupting.left
    assert steps >= 5
    for step in range(1, steps + 1):
        Interrupting.left = step
        with pytest.raises(KeyboardInterrupt):
            Parts().apply(variables, x)
        assert modules == []
        assert context.capture is None
    Interrupting.left = 0
    assert Parts().apply(variables, x).shape == (1, 2)


class Named(nn.Module):
    def __call__(self, x):
        return self.up(x)

    @nn.compact_name_scope
    def up(self, x):
        return nn.Dense(2)(x)


class Caller(nn.Module):
    named: nn.Module

    @nn.compact
    def __call__(self, x):
        return self.named(x)


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (Named, ("up",)),
        (lambda: Caller(Named()), ("up",)),
        (lambda: Caller(Caller(Named())), ("named", "up")),
        (lambda: Caller(nn.remat(Named)()), ("named", "up")),
    ],
)
def test_name_scopes_in_the_caller(make, place):
    with config.temp_flip_flag("name_scopes_in_caller", True):
        variables = make().init(KEY, X)
        y = make().apply(variables, X)
    params = variables["params"]
    for name in place:
        assert list(params) == [name]
        params = params[name]
    assert y.shape == (2, 2)


def test_name_scopes_need_a_caller_that_may_make_submodules():
    class Plain(nn.Module):
        named: nn.Module

        def __call__(self, x):
            return self.named(x)

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Named()(Named()(x))

    with config.temp_flip_flag("name_scopes_in_caller", True):
        with pytest.raises(errors.AssignSubModuleError, match="Scope of Plain"):
            Plain(Named()).init(KEY, X)
        with pytest.raises(errors.NameInUseError, match='"up" in module Twice'):
            Twice().init(KEY, X)
    assert sorted(Twice().init(KEY, X)["params"]) == ["Named_0", "Named_1"]


def test_a_property_can_be_deleted():
    class Net(nn.Module):
        @property
        def kept(self):
            return vars(self).get("_kept", "nothing")

        @kept.setter
        def kept(self, value):
            object.__setattr__(self, "_kept", value)

        @kept.deleter
        def kept(self):
            vars(self).pop("_kept")

    net = Net()
    type(net).kept.__set__(net, 3)
    assert net.kept == 3
    type(net).kept.__delete__(net)
    assert net.kept == "nothing"

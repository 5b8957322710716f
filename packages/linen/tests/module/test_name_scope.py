"""Methods whose submodules have a name scope of their own."""

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


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


def test_each_method_has_its_names():
    variables = Coder().init(KEY, X)
    shapes = {k: sorted(v) for k, v in variables["params"].items()}
    assert shapes == {"encode": ["Dense_0", "Dense_1"], "decode": ["Dense_0"]}
    assert set(Coder().init(KEY, X, method="decode")["params"]) == {"decode"}
    bound = Coder().bind(variables)
    assert (bound(X) == bound(X)).all()
    assert (bound.decode(X) == Coder().apply(variables, X, method="decode")).all()
    assert Coder.decode.__doc__ == "Undoes what `encode` does."


def test_overriding():
    class Sub(Coder):
        @nn.compact_name_scope
        def decode(self, x):
            return nn.Dense(3)(super().decode(x))

    params = Sub().init(KEY, X, method="decode")["params"]
    assert set(params["decode"]) == {"Dense_0", "Dense_1"}


def test_unbound():
    with pytest.raises(errors.CallCompactUnboundModuleError, match="method of Coder"):
        Coder().decode(X)


def test_clash():
    class Model(nn.Module):
        @nn.compact_name_scope
        def up(self, x):
            return nn.Dense(3)(x)

        @nn.compact
        def __call__(self, x):
            return self.up(nn.Dense(3, name="up")(x))

    with pytest.raises(errors.NameInUseError, match='submodule "up" in module Model'):
        Model().init(KEY, X)


def test_no_variables_of_the_module_itself():
    class Model(nn.Module):
        @nn.compact_name_scope
        def up(self, x):
            return self.param("p", nn.initializers.ones, (1,))

    with pytest.raises(ValueError, match='parameter "p" of Model'):
        Model().init(KEY, X, method="up")

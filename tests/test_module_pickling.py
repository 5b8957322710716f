"""Modules in other processes: pickle where it can, cloudpickle for the rest."""

import pickle
import subprocess
import sys

import cloudpickle
import jax
from jax import numpy as jnp

from batiste import linen as nn

KEY = jax.random.key(0)
X = jnp.ones((2, 3))

MAIN = """
import sys, cloudpickle, jax, jax.numpy as jnp
from typing import Any, Generic, TypeVar
from batiste import linen as nn

T = TypeVar("T")

class Base(nn.Module):
    width: int = 4

    @property
    def doubled(self):
        return 2 * self.width

class Model(Base, Generic[T]):
    act: Any = lambda x: x + 1

    def setup(self):
        self.layers = [nn.Dense(self.doubled), Block()]

    def __call__(self, x):
        for layer in self.layers:
            x = self.act(layer(x))
        return x

class Block(nn.Module):
    @nn.compact_name_scope
    def inner(self, x):
        return nn.Dense(3)(x)

    @nn.compact
    def __call__(self, x):
        self.sow("intermediates", "x", x)
        return nn.Dense(2)(self.inner(x))

model = Model(5, act=jax.nn.relu)
variables = model.init(jax.random.key(0), jnp.ones((2, 3)))
y = model.apply(variables, jnp.ones((2, 3)))
sys.stdout.buffer.write(cloudpickle.dumps((model, Model, variables, y)))
"""


def test_classes_of_another_process():
    run = subprocess.run([sys.executable, "-c", MAIN], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    model, cls, variables, y = pickle.loads(run.stdout)
    assert isinstance(model, cls)
    assert model == cls(5, act=model.act)
    assert (model.apply(variables, X) == y).all()
    assert (jax.jit(model.apply)(variables, X) == y).all()
    assert model.doubled == 10


def test_classes_of_functions():
    def make():
        class Local(nn.Module):
            features: int

            def setup(self):
                self.layer = nn.Dense(self.features)

            def __call__(self, x):
                return self.layer(x)

        return Local

    model = make()(3)
    variables = model.init(KEY, X)
    again = pickle.loads(cloudpickle.dumps(model))
    assert again == model
    assert hash(again) == hash(model)
    assert (again.apply(variables, X) == model.apply(variables, X)).all()
    unbound, same = model.bind(variables).unbind()
    again, variables = pickle.loads(cloudpickle.dumps((unbound, same)))
    assert (again.apply(variables, X) == model.apply(variables, X)).all()

"""Naming a module in a message."""

import jax

from batiste import linen as nn
from batiste.linen.module.located import located


class Inner(nn.Module):
    def __call__(self):
        return located(self)


class Outer(nn.Module):
    def setup(self):
        self.inner = Inner()

    def __call__(self):
        return located(self), self.inner()


def test_class_and_path():
    assert Outer().apply({}) == ("Outer", "Inner 'inner'")
    assert Outer().init_with_output(jax.random.key(0))[0][1] == "Inner 'inner'"

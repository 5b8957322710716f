"""What the programs that transform modules have in common, and their table.

`CASES` maps a name to a function of a library (`batiste.linen` or `flax.linen`), of a
module in whose compact method it runs, and of an input of shape (3, 2).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from jax import numpy as jnp

__all__ = ["CASES", "SPLIT", "STACKED", "block", "case", "net", "with_setup"]

Program = Callable[[Any, Any, Any], Any]

CASES: dict[str, Program] = {}

SPLIT = {"params": True, "dropout": True}
STACKED = {"variable_axes": {"params": 0}, "split_rngs": SPLIT}


def case(program: Program) -> Program:
    assert program.__name__ not in CASES
    CASES[program.__name__] = program
    return program


def net(nn: Any, program: Program) -> Any:
    """A module that runs the program."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return program(nn, self, x)

    return Net()


@functools.cache
def block(nn: Any) -> Any:
    """A layer with parameters, randomness and state, to be scanned over as well."""

    class Block(nn.Module):
        rate: float = 0.5
        counts: bool = True

        @nn.compact
        def __call__(self, x, scale=None):
            y = nn.Dense(x.shape[-1])(x)
            y = nn.Dropout(self.rate, deterministic=False)(y)
            if self.counts:
                count = self.variable("state", "count", lambda: jnp.zeros(()))
                count.value += 1
            x = x + (y if scale is None else y * scale)
            return x, jnp.sum(x)

    return Block


@functools.cache
def with_setup(nn: Any) -> Any:
    class WithSetup(nn.Module):
        features: int = 2

        def setup(self):
            self.scale = self.param("scale", nn.initializers.normal(), (2,))
            self.layers = [nn.Dense(self.features), nn.Dense(self.features)]

        def __call__(self, x):
            return self.decode(self.encode(x * self.scale))

        def encode(self, x):
            return self.layers[0](x)

        def decode(self, x):
            return self.layers[1](x)

    return WithSetup

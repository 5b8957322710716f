"""Uses vendored packages as parts of the project's own package.

Run by ``nox -s vendor`` from the root of a made-up project. Each of these packages
needs no other one, so its place and its name are free.
"""
# pyright: reportMissingImports=false

import importlib.util

import jax
import numpy as np
from madeup._vendor.core import FrozenDict, apply, freeze, init
from madeup._vendor.serialization import from_bytes, to_bytes
from madeup._vendor.traverse import flatten_dict, unflatten_dict

assert importlib.util.find_spec("batiste") is None

tree = {"layer": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3)}}
flat = flatten_dict(tree)
assert list(flat) == [("layer", "kernel"), ("layer", "bias")]
assert unflatten_dict(flat) == tree

again = from_bytes(freeze(tree), to_bytes(freeze(tree)))
assert isinstance(again, FrozenDict)
np.testing.assert_array_equal(again["layer"]["kernel"], tree["layer"]["kernel"])


def dense(scope, x):
    kernel = scope.param("kernel", jax.nn.initializers.ones, (x.shape[-1], 4))
    return x @ kernel


x = np.ones((1, 3), np.float32)
y, variables = init(dense)(jax.random.key(0), x)
np.testing.assert_array_equal(apply(dense)(variables, x), y)
print("vendored inside a package: traverse, serialization, core")

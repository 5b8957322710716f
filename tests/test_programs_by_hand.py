"""What a model compiles to is what the same network by hand compiles to.

So a compiled module costs nothing when it runs. Names and layouts are left aside.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import jax
import pytest
from jax import numpy as jnp

from batiste import linen as nn

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from networks import by_hand, in_linen

KEY = jax.random.key(0)
NETWORKS = in_linen.networks(nn)
INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?\S+ = (\(.*?\)|\S+) ([\w-]+)\(", re.MULTILINE
)
COSTS = ("flops", "transcendentals", "bytes accessed")


def operations(compiled):
    """How often each operation is in a program, with the shape of what it makes."""
    found = INSTRUCTION.findall(compiled.as_text())
    assert found
    return Counter((op, re.sub(r"\{[^}]*\}", "", shape)) for shape, op in found)


def costs(compiled):
    analysis = compiled.cost_analysis()
    return {name: analysis[name] for name in COSTS if name in analysis}


# A model, an input, the function by hand, and what of the variables that takes.
CASES = {
    "mlp": (NETWORKS.MLP(4, 16), (2, 16), by_hand.mlp, lambda v: v["params"]),
    "transformer": (
        NETWORKS.Transformer(2, 2),
        (2, 4, 8),
        by_hand.transformer,
        lambda v: v["params"],
    ),
    "resnet50": (NETWORKS.ResNet50(), (1, 32, 32, 3), by_hand.resnet50, lambda v: v),
    "lstm": (NETWORKS.LSTM(8), (2, 5, 4), by_hand.lstm, lambda v: v["params"]["cell"]),
}


@pytest.mark.parametrize("direction", ["forward", "gradient"])
@pytest.mark.parametrize("name", CASES)
def test_the_program_of_a_model_is_the_one_by_hand(name, direction):
    model, shape, function, part = CASES[name]
    x = jnp.ones(shape)
    shapes = jax.eval_shape(model.init, KEY, x)
    programs = []
    for call in (model.apply, lambda v, x: function(part(v), x)):
        fn = call
        if direction == "gradient":
            fn = jax.grad(lambda v, x, call=call: jnp.sum(call(v, x) ** 2), (0, 1))
        programs.append(jax.jit(fn).lower(shapes, x).compile())
    ours, by_hand_ = programs
    assert operations(ours) == operations(by_hand_)
    assert costs(ours) == costs(by_hand_)

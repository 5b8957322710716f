"""Columns of operations in tables, as the released package counts them."""

from __future__ import annotations

import re
from typing import Any

import flax.linen as theirs
import jax
import pytest
from jax import numpy as jnp

import batiste.linen as ours

WIDE = {"force_terminal": False, "width": 250}
IMAGE = jnp.ones((2, 8, 8, 3))
ROWS = jnp.ones((4, 6))
SEQUENCE = jnp.ones((2, 5, 8))

MODELS: dict[str, Any] = {
    "dense": (lambda nn: nn.Dense(5), ROWS),
    "mlp": (
        lambda nn: nn.Sequential([nn.Dense(7), nn.relu, nn.Dense(2), nn.softmax]),
        ROWS,
    ),
    "conv": (lambda nn: nn.Conv(4, (3, 3)), IMAGE),
    "conv_transpose": (lambda nn: nn.ConvTranspose(4, (3, 3), (2, 2)), IMAGE),
    "layer_norm": (lambda nn: nn.Sequential([nn.LayerNorm(), nn.Dense(3)]), ROWS),
    "group_norm": (lambda nn: nn.GroupNorm(num_groups=3), IMAGE),
    "batch_norm": (lambda nn: nn.BatchNorm(use_running_average=True), ROWS),
    "attention": (lambda nn: nn.MultiHeadDotProductAttention(num_heads=2), SEQUENCE),
    "embed": (lambda nn: nn.Embed(9, 4), jnp.ones((3,), int)),
}


def counts(nn: Any, make: Any, x: Any, vjp: bool) -> list[tuple[str, ...]]:
    """The path and the operations of each row, and a header."""
    text = make(nn).tabulate(
        jax.random.key(0),
        x,
        compute_flops=True,
        compute_vjp_flops=vjp,
        console_kwargs=WIDE,
    )
    rows = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in text.splitlines()
        if line[:1] in ("│", "┃")
    ]
    columns = [
        n for n, title in enumerate(rows[0]) if title in ("path", "flops", "vjp_flops")
    ]
    assert len(columns) == 2 + vjp
    return [tuple(row[n] for n in columns) for row in rows if row[columns[1]]]


@pytest.mark.parametrize("vjp", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_same_operations(model, vjp):
    make, x = MODELS[model]
    found = counts(ours, make, x, vjp)
    assert found == counts(theirs, make, x, vjp)
    assert len(found) > 1

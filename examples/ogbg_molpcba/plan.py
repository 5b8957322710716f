"""The arrays of the state, before there are any."""

from __future__ import annotations

from typing import Any

import jax
from train import abstract_state

from batiste import spmd

__all__ = ["plan_state"]


def plan_state(config: Any) -> spmd.Plan:
    """The parameters and the optimizer's state, with their sizes on one device."""
    state = abstract_state(config)
    mesh = jax.sharding.AbstractMesh((1,), ("data",))
    return spmd.plan({"params": state.params, "opt_state": state.opt_state}, mesh)

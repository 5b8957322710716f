"""What each device would hold, before there is any."""

from __future__ import annotations

from typing import Any

import jax
from steps import abstract_state

from batiste import spmd

__all__ = ["plan_state"]


def plan_state(config: Any, devices: int) -> spmd.Plan:
    """The layout of the parameters, the optimizer and the statistics.

    Nothing is allocated: the arrays are shapes, and so is the mesh.

    Args:
      config: the config.
      devices: of how many devices the mesh consists.
    """
    mesh = jax.sharding.AbstractMesh((devices,), ("data",))
    state = abstract_state(config, steps_per_epoch=1)
    shown = {"params": state.params, "batch_stats": state.batch_stats}
    return spmd.plan(shown | {"opt_state": state.opt_state}, mesh)

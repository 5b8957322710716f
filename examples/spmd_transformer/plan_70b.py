"""What each of 512 devices would hold of a model of 70 billion parameters.

Nothing is allocated: the parameters are shapes, and the devices are made up. The step
is compiled for them all the same, so the plan lists its collectives too.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys

import jax
import layout
import model
import rich
import training
from jax import numpy as jnp

from batiste import spmd
from batiste.core.errors import FlaxError


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--layout", default="fsdp_tensor", help="whose rules to use")
    add(
        "--mesh",
        type=mesh_sizes,
        default="data=64,tensor=8",
        help="the axes and their sizes",
    )
    add("--vocab", type=int, default=model.LLAMA_70B.vocab, help="tokens there are")
    add("--layers", type=int, default=model.LLAMA_70B.layers, help="blocks")
    add("--batch-size", type=int, default=512, help="texts, over all devices")
    add("--length", type=int, default=4096, help="tokens of a text")
    add("--params-only", action="store_true", help="do not show the optimizer's state")
    add("--no-step", action="store_true", help="do not compile the step")
    return parser.parse_args(args)


def mesh_sizes(text: str) -> dict[str, int]:
    """Reads `data=64,tensor=8`."""
    pairs = [axis.partition("=") for axis in text.split(",")]
    return {name: int(size) for name, _, size in pairs}


def make_plan(options: argparse.Namespace) -> spmd.Plan:
    """The plan that the options ask for."""
    sizes = options.mesh
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", math.prod(sizes.values()))
    chosen = dataclasses.replace(layout.load(options.layout), mesh=sizes)
    config = dataclasses.replace(
        model.LLAMA_70B, vocab=options.vocab, layers=options.layers
    )
    state = training.abstract_state(config)[1]
    shown = state.params if options.params_only else state
    mesh = chosen.make_mesh()
    plan = spmd.plan(shown, mesh, chosen.rules)
    if options.no_step or plan.uneven:  # JAX compiles no uneven arguments.
        return plan
    program = training.make_program(config, chosen, mesh)
    shape = (options.batch_size, options.length)
    tokens = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=program.batch)
    args = (program.state, {"inputs": tokens, "targets": tokens})
    with chosen.in_force(mesh):
        return spmd.plan(shown, mesh, chosen.rules, step=program.step, step_args=args)


def main(args: list[str] | None = None) -> None:
    """Prints the plan, or why there is none."""
    options = parse_args(args)
    try:
        plan = make_plan(options)
    except (layout.LayoutError, FlaxError) as error:
        raise SystemExit(str(error)) from None
    if sys.stdout.isatty():
        rich.print(plan)
    else:  # A file is as wide as the table.
        print(plan)


if __name__ == "__main__":
    main()

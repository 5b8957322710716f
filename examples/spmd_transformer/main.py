"""Trains a transformer on English text, over the devices of one or many processes.

How the model lies on the devices is a file of a few lines, in layouts/.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import data
import jax
import layout
import model
import processes
import training

from batiste.core.errors import FlaxError
from batiste.training import checkpoints

# What the losses depend on, beside the number of steps.
FACTS = ("seed", "batch_size", "length", "experts", "layers", "embed")


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "--layout",
        default="data",
        help=f"a TOML file, or one of: {', '.join(layout.names())}",
    )
    add("--steps", type=int, default=20, help="steps to train, from the first one")
    add("--batch-size", type=int, default=16, help="over all processes")
    add("--length", type=int, default=64, help="tokens of a text")
    add("--layers", type=int, default=2, help="blocks of the model")
    add("--embed", type=int, default=64, help="features between the blocks")
    add("--experts", type=int, default=0, help="of a mixture; 0 is none")
    add("--remat", action="store_true", help="compute blocks again for the gradient")
    add("--seed", type=int, default=0, help="of all randomness")
    add(
        "--devices",
        type=int,
        help="make so many CPU devices in each process; else use those there are",
    )
    add("--checkpoints", type=Path, help="folder, common to all processes")
    add("--save-every", type=int, default=5, help="steps between checkpoints")
    add("--processes", type=int, default=1, help="how many processes train together")
    add("--process-id", type=int, help="which of them this is; else start all here")
    add("--coordinator", help="host:port of process 0, with --process-id")
    add(
        "--timeout",
        type=int,
        default=30,
        help="seconds without a sign of life after which a process counts as lost",
    )
    options = parser.parse_args(args)
    for name in ("steps", "batch_size", "length", "layers", "save_every", "processes"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if (options.process_id is None) != (options.coordinator is None):
        parser.error("--process-id and --coordinator go together")
    if options.process_id is not None and options.process_id >= options.processes:
        parser.error("--process-id counts from 0 to one less than --processes")
    return options


def train(options: argparse.Namespace) -> None:
    """Trains, from the last checkpoint if there is one; prints each step's loss."""
    chosen = layout.load(options.layout)
    mesh = chosen.make_mesh()
    config = model.Config(
        layers=options.layers,
        embed=options.embed,
        mlp=4 * options.embed,
        experts=options.experts,
        remat=options.remat,
    )
    program = training.make_program(config, chosen, mesh)
    batches = data.Batches(
        data.text(), options.batch_size, options.length, options.seed
    )
    sizes = ", ".join(f"{name}={size}" for name, size in mesh.shape.items())
    say(f"{jax.process_count()} processes, {mesh.size} devices: {sizes}")

    folder = options.checkpoints
    if folder is not None and checkpoints.latest_checkpoint(folder):
        check_facts(folder, options)
        # Each process reads the parts of the arrays that its devices will hold.
        state: Any = checkpoints.restore_checkpoint(folder, program.state)
        say(f"continue from step {int(state.step)} of {folder}")
    else:
        state = program.create(jax.random.key(options.seed))
        if folder is not None and jax.process_index() == 0:
            facts = {name: getattr(options, name) for name in FACTS}
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "run.json").write_text(json.dumps(facts), "utf-8")

    for step in range(int(state.step), options.steps):
        batch = batches.on_devices(step, program.batch)
        state, loss = program.run_step(state, batch)
        say(f"step {step + 1:>4}  loss {float(loss):.6f}")
        if folder is not None and (step + 1) % options.save_every == 0:
            save(folder, state, step + 1)


def save(folder: Path, state: Any, step: int) -> None:
    """Saves from all processes together, each the parts that it holds."""
    import orbax.checkpoint as ocp

    checkpoints.save_checkpoint_multiprocess(
        folder, state, step, keep=2, orbax_checkpointer=ocp.PyTreeCheckpointer()
    )


def check_facts(folder: Path, options: argparse.Namespace) -> None:
    """Ends the program if it would continue another run than its own."""
    facts = json.loads((folder / "run.json").read_text("utf-8"))
    for name in FACTS:
        if facts[name] != getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise SystemExit(
                f"{folder} is of a run with {option} {facts[name]}, not "
                f"{getattr(options, name)}. Give {option} {facts[name]}, or another "
                "folder."
            )


def say(text: str) -> None:
    """Prints in process 0."""
    if jax.process_index() == 0:
        print(text, flush=True)


def main(args: list[str] | None = None) -> int:
    """Trains in this process, or starts the processes that do."""
    args = sys.argv[1:] if args is None else args
    options = parse_args(args)
    if options.processes > 1 and options.process_id is None:
        return processes.start(options.processes, args, options.timeout)
    if options.devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", options.devices)
    if options.processes > 1:
        processes.join(
            options.coordinator, options.processes, options.process_id, options.timeout
        )
    try:
        train(options)
    except (layout.LayoutError, FlaxError) as error:
        raise SystemExit(str(error)) from None
    except Exception as error:
        if options.processes == 1:
            raise
        advice = "Start the same command again"
        if options.checkpoints is not None:
            advice += f", to continue from the last checkpoint in {options.checkpoints}"
        processes.fail_together(error, f"{advice}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

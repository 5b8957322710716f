"""Trains under every layout, and on one device: the losses are to be the same.

It takes a mixture of experts for the layout of experts, and one feed-forward for the
others.
"""

from __future__ import annotations

import argparse
import sys

import data
import jax
import layout
import model
import training

TOLERANCE = 1e-5  # Float32 has 7 digits; a loss is a sum over many of their roundings.


def losses(
    config: model.Config, name: str, devices: int, steps: int, seed: int
) -> list[float]:
    """The losses of the first steps on the first `devices` devices."""
    chosen = layout.load(name)
    mesh = chosen.make_mesh(jax.devices()[:devices])
    program = training.make_program(config, chosen, mesh)
    batches = data.Batches(data.text(), batch_size=16, length=64, seed=seed)
    state = program.create(jax.random.key(seed))
    found = []
    for step in range(steps):
        state, loss = program.run_step(state, batches.on_devices(step, program.batch))
        found.append(float(loss))
    return found


def main(args: list[str] | None = None) -> int:
    """Compares the two results; returns 1 if they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8, help="steps to train")
    parser.add_argument("--devices", type=int, default=8, help="CPU devices to make")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")
    options = parser.parse_args(args)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", options.devices)

    run = {"steps": options.steps, "seed": options.seed}
    alone, worst = {}, 0.0
    print(f"{'layout':<16} {'mesh':<20} {'last loss':>9}  largest difference")
    for name in layout.names():
        config = model.Config(experts=8 if name == "experts" else 0)
        if config not in alone:
            alone[config] = losses(config, "data", 1, **run)
            what = f"{config.experts} experts" if config.experts else "no experts"
            print(f"{'one device':<16} {what:<20} {alone[config][-1]:9.6f}")
        found = losses(config, name, options.devices, **run)
        apart = max(abs(a / b - 1) for a, b in zip(found, alone[config], strict=True))
        worst = max(worst, apart)
        chosen = layout.load(name)
        sizes = zip(chosen.mesh, chosen.sizes(options.devices))
        mesh = ", ".join(f"{axis}={size}" for axis, size in sizes)
        print(f"{name:<16} {mesh:<20} {found[-1]:9.6f}  {apart:.1e}", flush=True)
    if worst > TOLERANCE:
        print(f"The losses differ by over {TOLERANCE:.0e}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Trains the model: python main.py --config=configs/small.py --workdir=runs/small."""

from __future__ import annotations

import time

from absl import app, flags, logging
from ml_collections import config_flags
from train import train_and_evaluate

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The hyperparameters: configs/small.py or configs/default.py."
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Gets checkpoints, pictures, and what TensorBoard shows.",
    required=True,
)


def main(args: list[str]) -> None:
    """Trains, and tells the result."""
    if len(args) > 1:
        raise app.UsageError(f"not a flag: {' '.join(args[1:])}")
    logging.set_verbosity(logging.WARNING)  # Orbax tells a lot about each file.
    start = time.perf_counter()
    result = train_and_evaluate(CONFIG.value, WORKDIR.value)
    samples = CONFIG.value.eval_samples
    print(f"{time.perf_counter() - start:.0f} seconds; pictures in {WORKDIR.value}")
    print("nats per test image:")
    print(f"  independent pixels:        {result.baseline:8.2f}")
    print(f"  evidence lower bound:      {result.elbo:8.2f}")
    print(f"  {samples} importance weights:  {result.importance_weighted:10.2f}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)

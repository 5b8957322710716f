"""Trains a convolutional network on handwritten digits, from data to pictures.

Shows the network as a table, trains it, saves the parameters, reads them again in
another process, and draws the learning curves and some predictions.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pictures
import training
from data import load
from jax import numpy as jnp
from model import CNN
from predict import predict
from tqdm import tqdm

from batiste.serialization import to_bytes

HERE = Path(__file__).resolve().parent


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Trains a network on handwritten digits, from data to pictures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--dataset",
        choices=("digits", "mnist"),
        default="digits",
        help="digits comes with scikit-learn; mnist needs TensorFlow Datasets",
    )
    parser.add_argument("--epochs", type=int, default=20, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=32, help="examples a step")
    parser.add_argument(
        "--learning-rate", type=float, default=3e-3, help="at the start"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")
    parser.add_argument(
        "--output", type=Path, default=Path("quickstart-out"), help="folder to write"
    )
    options = parser.parse_args(args)
    if options.epochs < 1 or options.batch_size < 1:
        parser.error("--epochs and --batch-size must be at least 1")
    return options


def reload_and_predict(params_path: Path, dataset: str, output: Path) -> np.ndarray:
    """Predictions for the test set by a fresh process that has only the file."""
    command = [sys.executable, str(HERE / "predict.py")]
    command += [str(params_path), dataset, str(output)]
    subprocess.run(command, check=True)
    return np.load(output)


def main(args: list[str] | None = None) -> None:
    """Trains, saves, reloads, compares and draws."""
    options = parse_args(args)
    options.output.mkdir(parents=True, exist_ok=True)
    train, test = load(options.dataset)
    if options.batch_size > len(train.label):
        sys.exit(f"--batch-size is over the {len(train.label)} training examples.")
    image_shape = train.image.shape[1:]
    print(f"{len(train.label)} digits to train on, {len(test.label)} to test.")

    cnn = CNN()
    key = jax.random.key(options.seed)
    styled = sys.stdout.isatty()
    table_options = {"force_terminal": styled, "no_color": not styled, "width": 100}
    print(cnn.tabulate(key, jnp.ones((1, *image_shape)), console_kwargs=table_options))

    num_steps = options.epochs * (len(train.label) // options.batch_size)
    state = training.create_train_state(
        cnn, key, image_shape, options.learning_rate, num_steps
    )
    start = time.perf_counter()
    with tqdm(total=options.epochs, unit="epoch", disable=None) as bar:

        def report(epoch: int, row: dict[str, float]) -> None:
            for dataset in ("train", "test"):
                bar.write(
                    f"{dataset} epoch: {epoch}, loss: {row[f'{dataset}_loss']:.4f}, "
                    f"accuracy: {100 * row[f'{dataset}_accuracy']:.2f}"
                )
            bar.update()

        state, history = training.fit(
            state,
            train,
            test,
            epochs=options.epochs,
            batch_size=options.batch_size,
            seed=options.seed,
            report=report,
        )
    print(f"Trained in {time.perf_counter() - start:.1f} seconds.")

    params_path = options.output / "params.msgpack"
    params_path.write_bytes(to_bytes(state.params))
    predicted = predict(state.params, test.image)
    reloaded = reload_and_predict(
        params_path, options.dataset, options.output / "predictions.npy"
    )
    if not np.array_equal(predicted, reloaded):
        sys.exit("The reloaded parameters predict something else than those saved.")
    print(f"A fresh process read the parameters: the same {len(reloaded)} predictions.")

    curves = options.output / "learning_curves.png"
    digits = options.output / "predictions.png"
    pictures.draw_curves(history, curves)
    pictures.draw_predictions(test, predicted, digits)
    print(f"\nTest accuracy: {100 * history[-1]['test_accuracy']:.2f} %")
    for label, path in (
        ("Parameters", params_path),
        ("Learning curves", curves),
        ("Predictions", digits),
    ):
        print(f"{label + ':':<16} {path}")


if __name__ == "__main__":
    main()

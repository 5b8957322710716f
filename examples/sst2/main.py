"""Trains a bidirectional LSTM to tell good reviews of films from bad ones."""

from __future__ import annotations

import train
from absl import app, flags, logging
from ml_collections import config_flags

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file("config", None, "The options.", lock_config=True)
flags.DEFINE_string("workdir", None, "The folder to write, and to go on from.")
flags.mark_flags_as_required(["config", "workdir"])

SENTENCES = (
    "a moving film with a wonderful cast .",
    "the jokes are stale and the plot makes no sense .",
    "not bad at all .",
    "it's never as clever as it thinks it is .",
)


def report(result: train.Result) -> str:
    """What it says of some sentences, and its accuracy beside the baseline's."""
    found = train.predict(result.state, result.vocabulary, SENTENCES)
    lines = [
        f"{100 * probability:3.0f} % good: {text}"
        for text, probability in zip(SENTENCES, found, strict=True)
    ]
    last, baseline = result.history[-1], result.baseline
    lines.append(
        f"\nTest accuracy: {100 * last['test_accuracy']:.2f} % "
        f"(logistic regression on a bag of words: "
        f"{100 * baseline['test_accuracy']:.2f} %)"
    )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    """Trains, and prints the result."""
    logging.set_verbosity(logging.WARNING)  # Orbax tells of each of its steps.
    result = train.train_and_evaluate(FLAGS.config, FLAGS.workdir)
    print(report(result))
    print(f"Curves, history and checkpoints: {FLAGS.workdir}")


if __name__ == "__main__":
    app.run(main)

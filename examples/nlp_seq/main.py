"""Trains a transformer encoder to tag words with their parts of speech."""

from __future__ import annotations

from typing import Any

import train
from absl import app, flags, logging
from input_pipeline import load
from ml_collections import config_flags

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file("config", None, "The options.", lock_config=True)
flags.DEFINE_string("workdir", None, "The folder to write, and to go on from.")
flags.mark_flags_as_required(["config", "workdir"])


def report(config: Any, result: train.Result) -> str:
    """A sentence with its tags, and the accuracy beside the baseline's."""
    sentence = load(config).test[0]
    (given,) = train.tag(result.state, result.encoder, [sentence])
    lines = []
    for word, tag, right in zip(sentence.words, given, sentence.tags, strict=True):
        lines.append(f"{word:<20} {tag}{'' if tag == right else f'   (is {right})'}")
    ours, theirs = result.model_scores, result.baseline_scores
    lines.append(
        f"\nTest accuracy: {100 * ours['test_accuracy']:.2f} % "
        f"(each word's most frequent tag: {100 * theirs['test_accuracy']:.2f} %)\n"
        f"Words that training did not have: {100 * ours['test_new_accuracy']:.2f} % "
        f"(the most frequent tag of all: {100 * theirs['test_new_accuracy']:.2f} %)"
    )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    """Trains, and prints the result."""
    logging.set_verbosity(logging.WARNING)  # Orbax tells of each of its steps.
    result = train.train_and_evaluate(FLAGS.config, FLAGS.workdir)
    print(report(FLAGS.config, result))
    print(f"Curves, history and checkpoints: {FLAGS.workdir}")


if __name__ == "__main__":
    app.run(main)

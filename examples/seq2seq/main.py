"""Trains an encoder and a decoder of LSTM layers to add numbers, digit by digit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import train
from absl import app, flags, logging
from input_pipeline import test_batch, text_of
from ml_collections import config_flags

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file("config", None, "The options.", lock_config=True)
flags.DEFINE_string("workdir", None, "The folder to write, and to go on from.")
flags.mark_flags_as_required(["config", "workdir"])


def report(config: Any, params: object) -> str:
    """Some answers, and the share of right ones beside that of a constant answer."""
    test = test_batch(config)
    row, given = train.evaluate(config, params, test)
    lines = []
    for query, answer, found in list(zip(*test, given, strict=True))[:5]:
        right, guess = text_of(answer), text_of(found)
        if config.reverse_answer:
            right, guess = right[::-1], guess[::-1]
        note = "" if guess == right else f"   (is {right})"
        lines.append(f"{text_of(query)} = {guess}{note}")
    commonest = Counter(map(text_of, test.answer)).most_common(1)[0][1]
    lines.append(
        f"\nExact sums of {len(test.query):,} held-out pairs of {config.max_digits}-"
        f"digit numbers: {100 * row['test_exact']:.2f} % "
        f"(the best constant answer: {100 * commonest / len(test.query):.2f} %)"
    )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    """Trains, and prints the result."""
    logging.set_verbosity(logging.WARNING)  # Orbax tells of each of its steps.
    state, _history = train.train_and_evaluate(FLAGS.config, FLAGS.workdir)
    print(report(FLAGS.config, state.params))
    print(f"Curves, history and checkpoints: {FLAGS.workdir}")


if __name__ == "__main__":
    app.run(main)

"""Training and evaluation: the order of things."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import input_pipeline
import jax
import layout
import loader
import numpy as np
import pictures
import tokenizer
from input_pipeline import Corpus
from journal import Journal, check_config
from ngram import NGram
from program import Program, schedule
from tokenizer import Tokenizer

from batiste.training import checkpoints

__all__ = ["Result", "read_texts", "train_and_evaluate"]


class Result(NamedTuple):
    """What a run ends with.

    Attributes:
      state: the last one.
      metrics: of the test set, "perplexity" of a piece, "word_perplexity",
        "bits_per_character"; and the same of n-grams, "3gram_perplexity" and so on.
      samples: texts that the model wrote.
      history: the metrics of the steps (in process 0).
    """

    state: Any
    metrics: dict[str, float]
    samples: list[str]
    history: list[dict[str, float]]


def read_texts(config: Any, workdir: Path) -> tuple[Tokenizer, dict[str, Corpus]]:
    """Reads the tokenizer, which is made at the first start, and the splits."""
    splits = ("train", "validation", "test")
    texts = {split: input_pipeline.load(config, split) for split in splits}
    args = (workdir / "pieces.model", texts["train"], config.vocab_size)
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        if jax.process_index() == 0:
            tokenizer.load_or_train(*args, config.vocab_texts)
        multihost_utils.sync_global_devices("pieces.model is there")
    pieces = tokenizer.load_or_train(*args, config.vocab_texts)
    return pieces, {
        split: Corpus.make(texts[split], pieces, config.max_length) for split in splits
    }


def train_and_evaluate(
    config: Any, workdir: Path | str, devices: Sequence[Any] | None = None
) -> Result:
    """Trains, from the last checkpoint if there is one, and tests the result.

    Args:
      config: what `configs/` make.
      workdir: folder of the run, common to all processes.
      devices: to be used instead of all that there are.

    Raises:
      ValueError: the folder is of a run with another config, or that of `layout`,
        `input_pipeline` or `loader`.
      ImportError: `config.loader` needs a package that is not installed.
    """
    workdir = Path(workdir).resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    first = jax.process_index() == 0
    check_config(workdir, config, write=first)
    pieces, texts = read_texts(config, workdir)
    program = Program(config, pieces.vocab_size, layout.make_mesh(config, devices))
    sizes = ", ".join(f"{name}={size}" for name, size in program.mesh.shape.items())
    say(
        f"{len(texts['train'])} texts of {len(texts['train'].tokens)} pieces to train "
        f"on, {pieces.vocab_size} different ones; {program.mesh.size} devices: {sizes}"
    )

    folder = workdir / "checkpoints"
    if checkpoints.latest_checkpoint(folder):
        # Each process reads the parts of the arrays that its devices will hold.
        state: Any = checkpoints.restore_checkpoint(folder, program.state)
        say(f"Continues from step {int(state.step)} of {workdir.name}.")
    else:
        state = program.create()
    start = int(state.step)

    rate = schedule(config)
    numbered = functools.partial(
        input_pipeline.training_batches,
        texts["train"],
        config,
        multiple=program.multiple,
    )
    batches = loader.read(program.put, numbered, start, config.loader)
    with (
        Journal(workdir, start, config.num_steps, first) as journal,
        contextlib.closing(batches),
    ):
        waiting = []
        for step in range(start + 1, config.num_steps + 1):
            state, sums = program.train_step(state, next(batches))
            waiting.append(sums)
            journal.advance()
            if step % config.log_every == 0:
                row = _means("train", waiting)
                journal.write(step, {**row, "learning_rate": float(rate(step - 1))})
                waiting = []
            if step % config.eval_every == 0 or step == config.num_steps:
                corpus = texts["validation"]
                journal.write(
                    step, evaluate(program, state.params, corpus, "validation")
                )
            if step % config.save_every == 0 or step == config.num_steps:
                save(folder, state, step)

    test = texts["test"]
    metrics = evaluate(program, state.params, test, "test")
    total = metrics["test_loss"] * len(test.tokens)
    metrics |= _perplexities("", total, test)
    known = _texts(texts["train"], config.ngram_texts)
    for order in config.ngram_orders:
        counted = NGram(known, order, pieces.vocab_size)
        metrics |= _perplexities(f"{order}gram_", counted.loss(_texts(test)), test)
    samples = write_samples(program, state.params, pieces)
    if first:
        (workdir / "samples.txt").write_text("\n".join(samples) + "\n", "utf-8")
        orders = config.ngram_orders
        baselines = {order: metrics[f"{order}gram_perplexity"] for order in orders}
        pictures.draw_curves(journal.history, baselines, workdir / "curves.png")
    return Result(state, metrics, samples, journal.history)


def save(folder: Path, state: Any, step: int) -> None:
    """Saves from all processes together, each the parts that it holds."""
    import orbax.checkpoint as ocp

    checkpoints.save_checkpoint_multiprocess(
        folder,
        state,
        step,
        keep=2,
        overwrite=True,
        orbax_checkpointer=ocp.PyTreeCheckpointer(),
    )


def evaluate(program: Program, params: Any, corpus: Corpus, name: str) -> dict:
    """The loss and the share of right tokens in a split."""
    config = program.config
    rows = input_pipeline.rows_of(config, program.multiple)
    batches = input_pipeline.packed(
        corpus, range(len(corpus)), rows, config.max_length, partial=True
    )
    return _means(name, [program.eval_step(params, program.put(b)) for b in batches])


def write_samples(program: Program, params: Any, pieces: Tokenizer) -> list[str]:
    """Lets the model go on from `config.prompt`, several times."""
    config = program.config
    prompt = pieces.encode(config.prompt)[:-1]
    prompts = np.tile(np.array(prompt, np.int32), (config.num_samples, 1))
    key = jax.random.key(config.seed)
    tokens = np.asarray(program.sample(params, prompts, key))
    return [pieces.decode(row) for row in tokens]


def say(text: str) -> None:
    """Prints in process 0."""
    if jax.process_index() == 0:
        print(text, flush=True)


def _texts(corpus: Corpus, most: int | None = None) -> list[list[int]]:
    count = len(corpus) if most is None else min(most, len(corpus))
    return [corpus.text(index).tolist() for index in range(count)]


def _perplexities(prefix: str, total: float, corpus: Corpus) -> dict[str, float]:
    """What a loss, summed over a corpus, is for a piece, a word, a character."""
    return {
        f"{prefix}perplexity": math.exp(total / len(corpus.tokens)),
        f"{prefix}word_perplexity": math.exp(total / corpus.words),
        f"{prefix}bits_per_character": total / corpus.characters / math.log(2),
    }


def _means(name: str, sums: list[Any]) -> dict[str, float]:
    """Of sums over batches, the means over all their tokens."""
    host = jax.device_get(sums)
    total = {key: float(np.sum([row[key] for row in host])) for key in host[0]}
    tokens = total.pop("tokens")
    return {f"{name}_{key}": value / tokens for key, value in total.items()}

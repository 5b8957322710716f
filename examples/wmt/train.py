"""Training and evaluation: the order of things."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable
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
from program import Program, schedule

from batiste.training import checkpoints

__all__ = ["Result", "Texts", "bleu", "read_texts", "recalled", "train_and_evaluate"]


class Texts(NamedTuple):
    """All there is to read: the tokenizer, and the pairs of each split."""

    pieces: tokenizer.Tokenizer
    pairs: dict[str, list[tuple[str, str]]]
    train: Corpus


class Result(NamedTuple):
    """What a run ends with.

    Attributes:
      state: the last one.
      metrics: "test_loss", "test_bleu", "baseline_bleu" and so on.
      history: the metrics of the steps (in process 0).
    """

    state: Any
    metrics: dict[str, float]
    history: list[dict[str, float]]


def read_texts(config: Any, workdir: Path) -> Texts:
    """Reads the data set and the tokenizer, which is made at the first start."""
    splits = ("train", "validation", "test")
    pairs = {split: input_pipeline.load(config, split) for split in splits}
    train = itertools.chain.from_iterable(pairs["train"])
    make = functools.partial(
        tokenizer.load_or_train,
        workdir / "pieces.model",
        train,
        config.vocab_size,
        config.vocab_texts,
    )
    if jax.process_count() == 1:
        pieces = make()
    else:
        from jax.experimental import multihost_utils

        if jax.process_index() == 0:
            make()
        multihost_utils.sync_global_devices("pieces.model is there")
        pieces = make()
    corpus = Corpus.make(pairs["train"], pieces, config.max_length)
    return Texts(pieces, pairs, corpus)


def train_and_evaluate(config: Any, workdir: Path | str) -> Result:
    """Trains, from the last checkpoint if there is one, and tests the result.

    Args:
      config: what `configs/` make.
      workdir: folder of the run, common to all processes.

    Raises:
      ValueError: the folder is of a run with another config, or that of `layout`,
        `input_pipeline` or `loader`.
      ImportError: `config.loader` needs a package that is not installed.
    """
    workdir = Path(workdir).resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    first = jax.process_index() == 0
    check_config(workdir, config, write=first)
    texts = read_texts(config, workdir)
    program = Program(config, texts.pieces.vocab_size, layout.make_mesh(config))
    say(
        f"{len(texts.train)} pairs to train on ({texts.train.dropped} too long), "
        f"{texts.pieces.vocab_size} pieces, {jax.process_count()} processes, "
        f"{program.mesh.size} devices"
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
        texts.train,
        config,
        multiple=program.multiple,
    )
    batches = loader.read(program.put, numbered, start, config.loader)
    watched = texts.pairs["validation"][: config.bleu_sentences]
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
                row = evaluate(program, state.params, texts, "validation")
                found = translations(program, state.params, texts.pieces, watched)
                row["validation_bleu"] = bleu(found, watched)
                journal.write(step, row)
            if step % config.save_every == 0 or step == config.num_steps:
                save(folder, state, step)

    test = texts.pairs["test"]
    metrics = evaluate(program, state.params, texts, "test")
    found = translations(program, state.params, texts.pieces, test)
    metrics["test_bleu"] = bleu(found, test)
    metrics["test_exact"] = float(
        np.mean([f == t for f, (_, t) in zip(found, test, strict=True)])
    )
    metrics["baseline_bleu"] = bleu(recalled(texts, test), test)
    if first:
        lines = ["\t".join((*p, f)) for p, f in zip(test, found, strict=True)]
        (workdir / "translations.tsv").write_text("\n".join(lines) + "\n", "utf-8")
        pictures.draw_curves(journal.history, workdir / "curves.png")
    return Result(state, metrics, journal.history)


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


def evaluate(program: Program, params: Any, texts: Texts, split: str) -> dict:
    """The loss and the share of right tokens in the pairs of a split."""
    config = program.config
    corpus = Corpus.make(texts.pairs[split], texts.pieces, config.max_length)
    batches = input_pipeline.bucketed(
        corpus,
        range(len(corpus)),
        config.tokens_per_batch,
        config.bucket_lengths,
        program.multiple,
    )
    return _means(split, [program.eval_step(params, program.put(b)) for b in batches])


def translations(
    program: Program,
    params: Any,
    pieces: tokenizer.Tokenizer,
    pairs: list[tuple[str, str]],
) -> list[str]:
    """Translates the sources of pairs; those that are too long are cut."""
    config = program.config
    longest = max(config.bucket_lengths)
    sources = [pieces.encode(source)[:longest] for source, _ in pairs]
    starts = np.cumsum([0, *map(len, sources)])
    flat = np.concatenate([np.array(source, np.int32) for source in sources])
    none = np.zeros(0, np.int32)
    corpus = Corpus((flat, none), (starts, np.zeros_like(starts)), 0)
    found = [""] * len(pairs)
    for batch in input_pipeline.bucketed(
        corpus,
        range(len(pairs)),
        config.tokens_per_batch,
        config.bucket_lengths,
        program.multiple,
    ):
        tokens = np.asarray(program.translate(params, program.put(batch)))
        for row, pair in zip(tokens, batch.rows, strict=True):
            for index in pair:
                found[index] = pieces.decode(row)
    return found


def bleu(found: list[str], pairs: list[tuple[str, str]]) -> float:
    """How like the targets of pairs the translations found are, from 0 to 100."""
    import sacrebleu

    return sacrebleu.corpus_bleu(found, [[target for _, target in pairs]]).score


def recalled(
    texts: Texts, pairs: list[tuple[str, str]], most: int = 20_000
) -> list[str]:
    """The baseline: the translation of the training source that is most alike.

    That is a translation memory of the first `most` pairs. Alike are sources that share
    many of their pieces.
    """

    def counts(sources: Iterable[str]) -> np.ndarray:
        rows = []
        for source in sources:
            tokens = texts.pieces.encode(source)
            row = np.bincount(tokens, minlength=texts.pieces.vocab_size)
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, np.float32)

    memory = texts.pairs["train"][:most]
    known = counts(source for source, _ in memory)
    alike = counts(source for source, _ in pairs) @ known.T
    return [memory[index][1] for index in alike.argmax(axis=1)]


def say(text: str) -> None:
    """Prints in process 0."""
    if jax.process_index() == 0:
        print(text, flush=True)


def _means(name: str, sums: list[Any]) -> dict[str, float]:
    """Of sums over batches, the means over all their tokens."""
    host = jax.device_get(sums)
    total = {key: float(np.sum([row[key] for row in host])) for key in host[0]}
    tokens = total.pop("tokens")
    return {f"{name}_{key}": value / tokens for key, value in total.items()}

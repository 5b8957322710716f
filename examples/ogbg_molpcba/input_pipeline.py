"""Molecules by number, and the padded batch of a step.

What a step trains on depends on the seed and the number of the step alone, so a run
that goes on from a checkpoint sees what it would have seen.

A jitted function is compiled for every shape that it meets. So batches are padded, with
one more graph that takes all the padding, to the next of a few sizes, the buckets, each
a quarter larger than the one before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jraph
import numpy as np
from molecules import Molecule, nci_molecules

__all__ = [
    "Splits",
    "TensorFlowMolecules",
    "bucket",
    "in_order",
    "load",
    "pad",
    "prefetch",
    "training_batch",
]

Splits = dict[str, Sequence[Molecule]]


class TensorFlowMolecules(Sequence[Molecule]):
    """The molecules of `ogbg_molpcba` of TensorFlow Datasets, read by number.

    Args:
      split: "train", "validation" or "test".

    Raises:
      ImportError: the packages are not installed.
    """

    def __init__(self, split: str):
        try:
            import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                "config.dataset='ogbg_molpcba' is read by TensorFlow Datasets, which "
                "is not installed: pip install tensorflow-datasets array-record"
            ) from error
        self.source = tfds.data_source("ogbg_molpcba", split=split)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: Any) -> Any:
        example = self.source[int(index)]
        edges = np.asarray(example["edge_index"], np.int32).reshape(-1, 2)
        bonds = np.asarray(example["edge_feat"], np.int32)
        return Molecule(
            atoms=np.asarray(example["node_feat"], np.int32),
            # Each bond is there once.
            bonds=np.concatenate([bonds, bonds]),
            senders=np.concatenate([edges[:, 0], edges[:, 1]]),
            receivers=np.concatenate([edges[:, 1], edges[:, 0]]),
            labels=np.asarray(example["labels"], np.float32),
        )


def load(name: str) -> Splits:
    """The splits `train`, `validation` and `test`.

    Args:
      name: "nci", the molecules that come with RDKit, every tenth of which is for
        validation and every tenth for testing; or "ogbg_molpcba".
    """
    if name == "nci":
        molecules = nci_molecules()
        return {
            "train": [m for i, m in enumerate(molecules) if i % 10 < 8],
            "validation": molecules[8::10],
            "test": molecules[9::10],
        }
    if name == "ogbg_molpcba":
        return {s: TensorFlowMolecules(s) for s in ("train", "validation", "test")}
    raise ValueError(f"config.dataset is {name!r}. Choose 'nci' or 'ogbg_molpcba'.")


def training_batch(
    molecules: Sequence[Molecule], config: Any, step: int
) -> jraph.GraphsTuple:
    """The batch of a step, counted from 0 over all epochs."""
    size = config.batch_size
    epoch, place = divmod(step, len(molecules) // size)
    order = np.random.default_rng((config.seed, epoch)).permutation(len(molecules))
    chosen = order[place * size : (place + 1) * size]
    return pad([molecules[i] for i in chosen], size, config)


def in_order(molecules: Sequence[Molecule], config: Any) -> Iterator[jraph.GraphsTuple]:
    """All molecules in order, once."""
    size = config.batch_size
    for start in range(0, len(molecules), size):
        stop = min(start + size, len(molecules))
        yield pad([molecules[i] for i in range(start, stop)], size, config)


def bucket(needed: int, smallest: int) -> int:
    """The first size from `smallest` on, each a quarter larger, that is enough."""
    size = smallest
    while size < needed:
        size = math.ceil(size * 1.25)
    return size


def pad(molecules: Sequence[Molecule], batch_size: int, config: Any) -> Any:
    """One graph of all molecules and of padding, with the sizes of a bucket.

    Args:
      molecules: at most `batch_size` of them.
      batch_size: how many graphs there are, beside those of padding.
      config: has `smallest_bucket`, the atoms of the smallest bucket. There is room for
        five edges for every two atoms.

    Returns:
      A `jraph.GraphsTuple` of `batch_size + 1` graphs. `globals` is a dict of `labels`
      (graphs, tasks) and `measured` (graphs, tasks): 1 where there is a label, and 0
      where there is none, or only padding. Labels are 0 there.
    """
    atoms = sum(len(m.atoms) for m in molecules) + 1  # one that padding belongs to
    edges = sum(len(m.bonds) for m in molecules)
    room = bucket(max(atoms, math.ceil(edges / 2.5)), config.smallest_bucket)
    starts = np.cumsum([0] + [len(m.atoms) for m in molecules])
    labels = np.stack([m.labels for m in molecules])
    known = ~np.isnan(labels)
    graphs: Any = jraph.GraphsTuple
    whole = graphs(
        nodes=np.concatenate([m.atoms for m in molecules]),
        edges=np.concatenate([m.bonds for m in molecules]),
        senders=np.concatenate([m.senders + s for m, s in zip(molecules, starts)]),
        receivers=np.concatenate([m.receivers + s for m, s in zip(molecules, starts)]),
        n_node=np.array([len(m.atoms) for m in molecules], np.int32),
        n_edge=np.array([len(m.bonds) for m in molecules], np.int32),
        globals={
            "labels": np.where(known, labels, 0).astype(np.float32),
            "measured": known.astype(np.float32),
        },
    )
    return jraph.pad_with_graphs(
        whole, n_node=room, n_edge=math.ceil(2.5 * room), n_graph=batch_size + 1
    )


def prefetch(
    make: Callable[[int], Any], steps: Sequence[int], loader: str = "numpy"
) -> Iterator[Any]:
    """`make` of each step in turn, two steps ahead of who asks for them.

    Args:
      make: makes the batch of a step.
      steps: which, in this order.
      loader: what does so in a thread: "numpy", for none but this function, or "grain".

    Raises:
      ValueError: there is no such loader.
      ImportError: grain is not installed.
    """
    if loader == "grain":
        try:
            import grain
        except ImportError as error:
            raise ImportError(
                "config.loader='grain' needs the package grain: pip install grain"
            ) from error
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        yield from grain.MapDataset.source(steps).map(make).to_iter_dataset(options)
        return
    if loader != "numpy":
        raise ValueError(f"config.loader is {loader!r}; it must be 'numpy' or 'grain'.")
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, step) for step in steps[:2]]
        for place in range(len(steps)):
            batch = waiting.pop(0).result()
            if place + 2 < len(steps):
                waiting.append(pool.submit(make, steps[place + 2]))
            yield batch

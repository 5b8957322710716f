"""What the tests share: a small treebank of a made-up language, and a narrow model."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from configs import small

# Compiling takes most of the time: a run finds what one like it has compiled, and so do
# the processes that tests start.
_COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# In this language the end of a word tells its part of speech, but for "ru": after a
# verb it is an adverb, else a particle.
ENDINGS = {"NOUN": "ata", "VERB": "omo", "ADJ": "isi"}
ORDERS = ("ADJ NOUN VERB ADV", "NOUN VERB", "PRT ADJ NOUN VERB NOUN", "NOUN VERB ADV")


def treebank(number: int, seed: int) -> str:
    """Sentences of the language, in the CoNLL-U format."""
    rng = np.random.default_rng(seed)
    lines = []
    for sentence in range(number):
        lines.append(f"# sent_id = {sentence}")
        tags = ORDERS[rng.integers(len(ORDERS))].split()
        for place, tag in enumerate(tags, 1):
            stem = "".join(rng.choice([*"bdgklmnp"], 3))
            word = stem + ENDINGS[tag] if tag in ENDINGS else "ru"
            space = "_" if place < len(tags) else "SpaceAfter=No"
            lines.append(f"{place}\t{word}\t_\t{tag}\t_\t_\t0\t_\t_\t{space}")
        lines.append(f"{len(tags) + 1}\t.\t_\tPUNCT\t_\t_\t0\t_\t_\t_")
        lines.append("")
    return "\n".join(lines)


@pytest.fixture
def tiny(tmp_path):
    """Options for the small treebank, of three files."""
    config = small.get_config()
    config.treebank = "files"
    for seed, part in enumerate(("train", "validation", "test")):
        path = tmp_path / f"{part}.conllu"
        path.write_text(treebank(160 if part == "train" else 40, seed), "utf-8")
        config[f"{part}_file"] = str(path)
    config.update(num_affixes=512, features=16, num_layers=1, num_heads=2)
    config.update(mlp_size=32, batch_size=16, num_epochs=2)
    return config

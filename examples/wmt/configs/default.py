"""The full task: WMT 2017 from English to German, with the big transformer.

Sizes and schedule are those of Vaswani et al., 2017, table 3, "big".
"""

from __future__ import annotations

from typing import Any

import ml_collections

__all__ = ["get_config"]


def get_config() -> Any:
    """Returns what can be changed with `--config.NAME=VALUE`."""
    config: Any = ml_collections.ConfigDict()
    config.seed = 0

    # "numbers", "files:DIR" or "tfds:NAME"; see input_pipeline.py.
    config.dataset = "tfds:wmt17_translate/de-en"
    config.source = "en"
    config.target = "de"
    # Of "numbers" only.
    config.num_train = 20_000
    config.num_validation = 200
    config.num_test = 400
    config.largest_number = 999_999

    config.vocab_size = 32_000
    config.vocab_texts = 2_000_000  # of which the pieces are learned
    config.loader = "numpy"  # or "grain": the same batches, ahead of time
    config.max_length = 256  # longer pairs are left out
    config.pack = True  # several pairs to a row, else buckets
    config.tokens_per_batch = 65_536  # a side, over all devices
    config.bucket_lengths = (16, 32, 64, 128, 256)

    config.model = ml_collections.ConfigDict()
    config.model.embed = 1024
    config.model.heads = 16
    config.model.layers = 6
    config.model.mlp = 4096
    config.model.dropout = 0.3
    config.model.attention_dropout = 0.1
    config.dtype = "bfloat16"

    # Axes of the mesh, of which one may be -1: the rest of the devices.
    config.mesh = (("data", -1),)
    config.rules = (("batch", "data"),)

    config.num_steps = 300_000
    config.warmup_steps = 4000
    config.learning_rate = 5e-4  # at its peak
    config.weight_decay = 0.0
    config.label_smoothing = 0.1

    config.beams = 4
    config.length_penalty = 0.6
    config.bleu_sentences = 500  # of the validation set, while it trains

    config.log_every = 100
    config.eval_every = 5000
    config.save_every = 5000
    return config

"""The full task: the One Billion Word benchmark of Chelba et al., 2013.

The model has the sizes of the base transformer of Vaswani et al., 2017.
"""

from __future__ import annotations

from typing import Any

import ml_collections

__all__ = ["get_config"]


def get_config() -> Any:
    """Returns what can be changed with `--config.NAME=VALUE`."""
    config: Any = ml_collections.ConfigDict()
    config.seed = 0

    # "pydoc", "files:DIR" or "tfds:NAME"; see input_pipeline.py.
    config.dataset = "tfds:lm1b"
    config.vocab_size = 30_000
    config.vocab_texts = 2_000_000  # of which the pieces are learned
    config.vocab_multiple = 128  # the model's is rounded up to a multiple
    config.loader = "numpy"  # or "grain": the same batches, ahead of time
    config.max_length = 128  # longer texts are cut into several
    config.tokens_per_batch = 131_072  # over all devices

    config.model = ml_collections.ConfigDict()
    config.model.embed = 512
    config.model.heads = 8
    config.model.layers = 6
    config.model.mlp = 2048
    config.model.dropout = 0.1
    config.model.attention_dropout = 0.1
    config.dtype = "bfloat16"

    # Axes of the mesh, of which one may be -1: the rest of the devices.
    config.mesh = (("data", -1), ("tensor", 1))
    # Which named axis lies over which axis of the mesh, the first that is free there.
    # So "embed" is split in parameters (FSDP), and whole in activations.
    config.rules = (
        ("batch", "data"),
        ("vocab", "tensor"),
        ("heads", "tensor"),
        ("mlp", "tensor"),
        ("embed", "data"),
    )

    config.num_steps = 500_000
    config.warmup_steps = 1000
    config.learning_rate = 1.5e-3  # at its peak
    config.weight_decay = 0.1
    config.label_smoothing = 0.0

    config.temperature = 0.7
    config.top = 0  # draw among so many pieces; 0 is all
    config.prompt = "The"
    config.num_samples = 4
    config.ngram_orders = (2, 3, 5)
    config.ngram_texts = 100_000  # that they are counted in

    config.log_every = 100
    config.eval_every = 5000
    config.save_every = 5000
    return config

"""The flat name of `batiste.training.jax_utils`: replication and prefetching."""

from batiste.training.jax_utils import (
    pad_shard_unpad,
    partial_eval_by_shape,
    pmean,
    prefetch_to_device,
    replicate,
    scan_in_dim,
    unreplicate,
)

__all__ = [
    "pad_shard_unpad",
    "partial_eval_by_shape",
    "pmean",
    "prefetch_to_device",
    "replicate",
    "scan_in_dim",
    "unreplicate",
]

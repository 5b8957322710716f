"""Saving a training state to a folder, step by step, and restoring it.

A checkpoint is complete or absent: it is written under another name, synced to the
disk and renamed, and only then are older ones deleted. A process may be killed at any
moment, a disk may run full, and two programs may save to one folder: the newest
completed checkpoint is what `restore_checkpoint` returns. What a killed save leaves is
deleted by the next one.

There are two formats, told apart when reading. By default a checkpoint is one file of
`batiste.serialization`. With the flag `use_orbax_checkpointing`, or an
`orbax_checkpointer`, it is a folder written by Orbax, which also stores arrays that are
split over several processes.
"""

from .async_manager import AsyncManager
from .paths import natural_sort, safe_normpath
from .pre_linen import convert_pre_linen
from .restore import available_steps, latest_checkpoint, restore_checkpoint
from .save import save_checkpoint, save_checkpoint_multiprocess

__all__ = [
    "AsyncManager",
    "available_steps",
    "convert_pre_linen",
    "latest_checkpoint",
    "natural_sort",
    "restore_checkpoint",
    "safe_normpath",
    "save_checkpoint",
    "save_checkpoint_multiprocess",
]

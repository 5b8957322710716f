"""The names of files by which programs tell what wrote a checkpoint.

>>> ORBAX_CKPT_FILENAME
'checkpoint'
"""

from __future__ import annotations

__all__ = [
    "COMMIT_SUCCESS_FILE",
    "MP_ARRAY_POSTFIX",
    "ORBAX_CKPT_FILENAME",
    "ORBAX_MANIFEST_OCDBT",
    "ORBAX_METADATA_FILENAME",
]

# A folder that Orbax wrote has one of these: the oldest, and its two successors.
ORBAX_CKPT_FILENAME = "checkpoint"
ORBAX_MANIFEST_OCDBT = "manifest.ocdbt"
ORBAX_METADATA_FILENAME = "_METADATA"

# The folder of the arrays of several processes, beside a checkpoint file.
MP_ARRAY_POSTFIX = "_gda"
COMMIT_SUCCESS_FILE = "commit_success.txt"

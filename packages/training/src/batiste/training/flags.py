"""The flags that only this package reads.

They are defined when this module is imported, which each module that reads them does.
`batiste.core.config` imports it, too, when it is asked for a flag that it has not.

>>> config.early_stopping_pair, config.use_orbax_checkpointing
(True, False)
>>> config.verify_checkpoints
True
"""

from batiste.core.config import bool_flag, config

__all__ = ["config"]

bool_flag(
    "use_orbax_checkpointing",
    default=False,
    help="`training.checkpoints` saves through Orbax.",
)
bool_flag(
    "early_stopping_pair",
    default=True,
    help="`EarlyStopping.update` returns the pair (has_improved, early_stop), and not "
    "early_stop alone.",
)
bool_flag(
    "verify_checkpoints",
    default=True,
    help="`training.checkpoints` compares the files of a checkpoint that it restores "
    "with the checks that were recorded with them.",
)

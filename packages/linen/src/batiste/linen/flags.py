"""The flags that only this package reads.

They are defined when this module is imported, which each module that reads them does.
`batiste.core.config` imports it, too, when it is asked for a flag that it has not.

>>> config.profile, config.preserve_adopted_names
(True, False)
"""

from batiste.core.config import bool_flag, config

__all__ = ["config"]

bool_flag(
    "profile",
    default=True,
    help="A method call runs under a `jax.named_scope` with the module's name.",
)
bool_flag(
    "preserve_adopted_names",
    default=False,
    help="A submodule that is passed as a field keeps the name that it was given.",
)

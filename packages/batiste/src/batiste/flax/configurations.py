"""The flags as the objects that `flax.configurations` has of them.

>>> flax_profile.value
True
"""

from __future__ import annotations

from batiste.core.config import FlagHolder

__all__ = [
    "flax_filter_frames",
    "flax_fix_rng",
    "flax_preserve_adopted_names",
    "flax_profile",
    "flax_relaxed_naming",
    "flax_return_frozendict",
    "flax_use_orbax_checkpointing",
]

flax_filter_frames = FlagHolder[bool](
    "filter_frames", "Tracebacks leave out the frames of the library."
)
flax_fix_rng = FlagHolder[bool](
    "fix_rng_separator", "What keys are derived from is kept apart, which changes them."
)
flax_preserve_adopted_names = FlagHolder[bool](
    "preserve_adopted_names", "A submodule that is passed as a field keeps its name."
)
flax_profile = FlagHolder[bool]("profile", "Calls run under a `jax.named_scope`.")
flax_relaxed_naming = FlagHolder[bool](
    "relaxed_naming", "Variables of different collections may have one name."
)
flax_return_frozendict = FlagHolder[bool](
    "return_frozendict", "`init` and `apply` return variables as FrozenDict."
)
flax_use_orbax_checkpointing = FlagHolder[bool](
    "use_orbax_checkpointing", "`training.checkpoints` saves through Orbax."
)

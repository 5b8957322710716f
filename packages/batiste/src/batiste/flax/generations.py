"""The defaults that code of one generation of flax expects."""

from __future__ import annotations

import os
import sys

from .errors import GenerationError

__all__ = ["DEFAULT", "FLAGS", "VERSIONS", "apply_flags", "check", "restore_flags"]

DEFAULT = "0.12"

# What `flax.__version__` says.
VERSIONS = {"0.6": "0.6.9", "0.12": "0.12.8"}

# Flags of core, linen and training.
FLAGS: dict[str, dict[str, bool]] = {
    "0.6": {
        "return_frozendict": True,
        "use_orbax_checkpointing": False,
        "early_stopping_pair": True,
        "documented_checks": True,
        "documented_functions": True,
        "documented_orders": True,
        "tabulate_intermediates": True,
        "rng_fallback": False,
        "split_fallback": True,
        "jit_folds_rngs": False,
        "branches_count_on": False,
        "custom_vjp_counts_on": False,
        "share_scope_keeps_paths": False,
        "name_scopes_in_caller": False,
        "empty_sequences_keep_carry": False,
        "unbound_submodules": False,
    },
    "0.12": {
        "return_frozendict": False,
        "use_orbax_checkpointing": True,
        "early_stopping_pair": False,
        "documented_checks": False,
        "documented_functions": False,
        "documented_orders": False,
        "tabulate_intermediates": False,
        "rng_fallback": True,
        "split_fallback": False,
        "jit_folds_rngs": True,
        "branches_count_on": True,
        "custom_vjp_counts_on": True,
        "share_scope_keeps_paths": True,
        "name_scopes_in_caller": True,
        "empty_sequences_keep_carry": False,
        "unbound_submodules": False,
    },
}


def check(generation: str) -> str:
    """Returns the generation if there is such a one.

    Raises:
      GenerationError: there is none of this name.

    >>> check("0.12")
    '0.12'
    >>> check("1.0")
    Traceback (most recent call last):
        ...
    batiste.flax.errors.GenerationError: There is no generation '1.0' of flax's
    defaults; choose '0.6' (those of flax 0.6.9) or '0.12' (those of flax 0.12.8).
    """
    if generation not in FLAGS:
        known = " or ".join(f"{g!r} (those of flax {v})" for g, v in VERSIONS.items())
        raise GenerationError(
            f"There is no generation {generation!r} of flax's defaults; choose {known}."
        )
    return generation


def apply_flags(generation: str) -> dict[str, bool]:
    """Sets the flags of a generation, but those that the environment sets.

    Args:
      generation: its name.

    Returns:
      The values that the flags had before.

    >>> before = apply_flags("0.6")
    >>> restore_flags(before)
    """
    # Those of training are defined there; those of linen come when they are asked for.
    from batiste.training.flags import config

    before: dict[str, bool] = {}
    for name, value in FLAGS[generation].items():
        variables = (f"BATISTE_{name.upper()}", f"FLAX_{name.upper()}")
        if not any(variable in os.environ for variable in variables):
            before[name] = getattr(config, name)
            config.update(name, value)
    return before


def restore_flags(before: dict[str, bool]) -> None:
    """Sets flags to the values that `apply_flags` returned.

    >>> restore_flags({})
    """
    from batiste.core.config import config

    for name, value in before.items():
        config.update(name, value)


def flags_exist() -> bool:
    """Tells whether the flags, and with them JAX, are imported already.

    >>> import batiste.core.config
    >>> flags_exist()
    True
    """
    module = sys.modules.get("batiste.core.config")
    # While it is being imported, they are defined one by one, and this comes last.
    return module is not None and "use_regular_dict" in vars(module)

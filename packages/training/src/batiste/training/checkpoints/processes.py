"""Several processes that save one checkpoint together."""

import jax

__all__ = ["meet"]


def meet(name: str) -> None:
    """Waits until all processes are here.

    Args:
      name: says what they meet for; the same in all of them.

    >>> meet("the folder is ready")
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)

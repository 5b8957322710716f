"""Arguments for `orbax.checkpoint`, made from a pytree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, Sharding

from batiste.core.types import Tree

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

__all__ = [
    "import_orbax",
    "is_multi_device_array",
    "is_multiprocess_array",
    "maybe_construct_transformations",
    "restore_args_from_target",
    "save_args_from_target",
]


def import_orbax() -> Any:
    """Returns the module `orbax.checkpoint`.

    Raises:
      ImportError: it is not installed; the message says how to install it.

    >>> import_orbax().__name__
    'orbax.checkpoint'
    """
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError(
            "Orbax checkpoints need the package orbax-checkpoint, which is not "
            "installed: pip install orbax-checkpoint (the extra orbax of "
            "batiste-training)."
        ) from error
    return ocp


def is_multiprocess_array(value: object) -> bool:
    """Returns whether a value is an array that other processes hold parts of.

    >>> import jax.numpy as jnp
    >>> from batiste.training import orbax_utils
    >>> orbax_utils.is_multiprocess_array(jnp.ones(2))
    False
    """
    return (
        isinstance(value, jax.Array)
        and not value.is_fully_addressable
        and not value.is_fully_replicated
    )


def is_multi_device_array(value: object) -> bool:
    """Returns whether a value is an array that is split or copied over devices.

    >>> import jax.numpy as jnp
    >>> from batiste.training import orbax_utils
    >>> orbax_utils.is_multi_device_array(jnp.ones(2))
    False
    """
    return isinstance(value, jax.Array) and len(value.sharding.device_set) > 1


def save_args_from_target(target: Tree) -> Tree:
    """Returns `save_args` for `orbax.checkpoint`, one for each leaf.

    Today's Orbax bundles small arrays by itself, so these are its defaults.

    Args:
      target: the pytree to save.

    Raises:
      ImportError: Orbax is not installed.

    >>> from batiste.training import orbax_utils
    >>> sorted(orbax_utils.save_args_from_target({'w': 1.0, 'b': 0.0}))
    ['b', 'w']
    """
    ocp = import_orbax()
    return jax.tree.map(lambda _: ocp.SaveArgs(), target)


def restore_args_from_target(target: Tree, mesh: Mesh | None = None) -> Tree:
    """Returns `restore_args` for `orbax.checkpoint`, one for each leaf.

    A `jax.Array`, or a `jax.ShapeDtypeStruct` with a sharding, is restored as an array
    with its dtype and sharding; a NumPy array as one with its dtype; a number or text
    as its own type.

    Args:
      target: pytree like the one to restore; values and shapes are not used.
      mesh: restore arrays with named shardings onto this mesh, with the partition
        specs that they have in `target`.

    Raises:
      ImportError: Orbax is not installed.

    >>> import numpy as np
    >>> from batiste.training import orbax_utils
    >>> args = orbax_utils.restore_args_from_target({'w': np.ones(2), 'n': 3})
    >>> args['w'].restore_type, args['n'].restore_type
    (<class 'numpy.ndarray'>, <class 'int'>)
    """
    ocp = import_orbax()
    return jax.tree.map(lambda x: _restore_args(ocp, x, mesh), target)


def _restore_args(ocp: Any, x: Any, mesh: Mesh | None) -> ocp.RestoreArgs:
    sharding = getattr(x, "sharding", None)
    if isinstance(sharding, Sharding):
        if mesh is not None and isinstance(sharding, NamedSharding):
            sharding = NamedSharding(mesh, sharding.spec)
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        # Not strict: the shape is that in the checkpoint, whatever the target has.
        return ocp.ArrayRestoreArgs(
            restore_type=jax.Array,
            dtype=None if is_key else x.dtype,
            sharding=sharding,
            strict=False,
        )
    if isinstance(x, np.ndarray | np.generic | jax.ShapeDtypeStruct):
        return ocp.RestoreArgs(restore_type=np.ndarray, dtype=x.dtype)
    if isinstance(x, bool | int | float | str):
        return ocp.RestoreArgs(restore_type=type(x))
    return ocp.RestoreArgs()


def maybe_construct_transformations(target: Tree, transforms: Tree | None) -> Tree:
    """Returns Orbax transformations that leave the empty leaves of a target alone.

    Args:
      target: pytree to restore to, in nested dictionaries.
      transforms: transformations that were asked for; returned as they are if not
        None.

    Raises:
      ImportError: Orbax is not installed.

    >>> from batiste.training import orbax_utils
    >>> orbax_utils.maybe_construct_transformations({'w': 1}, None)
    {}
    >>> list(orbax_utils.maybe_construct_transformations({'w': None}, None))
    ['w']
    """
    if transforms is not None:
        return transforms
    from batiste import traverse

    ocp = import_orbax()
    flat = traverse.flatten_dict(target, sep="/") if isinstance(target, dict) else {}
    return traverse.unflatten_dict(
        {
            path: ocp.Transform(use_fallback=True)
            for path, value in flat.items()
            if value is None
        },
        sep="/",
    )

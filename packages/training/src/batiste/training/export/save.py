"""Writing a model into a file that runs without its source."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from jax import export as jax_export

from batiste.core.types import Tree

from ..errors import ExportError
from .archive import write_archive
from .description import describe
from .inputs import Shapes, first_line
from .program import CALLBACKS, make_program, trace

__all__ = ["import_flatbuffers", "save"]


def save(
    path: str | os.PathLike[str],
    model: Any,
    variables: Tree,
    *args: Tree,
    rngs: Tree = None,
    method: Callable[..., Any] | str | None = None,
    mutable: Any = False,
    shapes: Shapes = "batch, ...",
    platforms: Sequence[str] | None = None,
    vjp_order: int = 0,
    disabled_checks: Sequence[jax_export.DisabledSafetyCheck] = (),
    **kwargs: Tree,
) -> int:
    """Writes a model with its variables into one file, which runs without its source.

    The file has the program of `jax.jit(model.apply)`, as `jax.export` makes it, the
    variables and a description. `load` reads it, and so does a program that has only
    JAX; the guide on exporting has its five lines. What it computes is bit for bit what
    `jax.jit(model.apply)` computes with the same JAX on the same device.

    Arguments that hold arrays are inputs of the program; only their shapes and dtypes
    are looked at. Arguments by keyword that hold none, such as `train=False`, are
    fixed. Containers that are not dicts, lists or tuples become these in the file, so
    that no class has to be known where it is loaded.

    A model that says how its arrays are split over a mesh, as `nn.with_partitioning`
    and `nn.with_logical_constraint` do where it is called within one, becomes a program
    for as many devices; it runs where there are as many. Weights that are split over
    that mesh are split again where they are loaded.

    Args:
      path: the file. One that is there is replaced when the new one is complete.
      model: a module; or a function of variables and inputs, such as
        `functools.partial(model.apply, mask=mask)`, which fixes an array, too.
      variables: what it is applied to: a pytree of arrays, which may be split over
        the devices of this process.
      *args: positional arguments of the call, as examples: arrays or
        `jax.ShapeDtypeStruct`s.
      rngs: a key, or keys by name, as an example: the program has an input `rngs`. It
        has none where this is left out.
      method: the method to export, `__call__` by default.
      mutable: as for `apply`; the program also returns these collections then.
      shapes: which sizes are left open, in the syntax of `jax.export.symbolic_shape`:
        for all inputs at once, or by the name of the argument. By default the first
        axis of each is one batch of any size. With None, sizes are those of the
        example. Symbolic sizes in a `jax.ShapeDtypeStruct` are taken as they are.
      platforms: names such as `'cpu'`, `'cuda'`, `'rocm'` and `'tpu'`, on each of which
        the program can run; by default what JAX runs on here.
      vjp_order: how many times the program can be differentiated where it is loaded.
      disabled_checks: as for `jax.export.export`.
      **kwargs: arguments by keyword.

    Returns:
      The size of the file in bytes.

    Raises:
      ExportError: an argument is neither an input nor fixed, a variable has no value,
        or JAX cannot export the model: it has sizes that it wants to know, or calls
        back into Python; or it splits arrays over devices, and not by one mesh.
      IsADirectoryError: `path` is a folder.
      OSError: the file cannot be written.
      ImportError: the package flatbuffers is missing.

    >>> import os, tempfile, jax.numpy as jnp
    >>> from batiste.training import export
    >>> def apply(variables, x):
    ...     return x @ variables['params']['w']
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'model.zip')
    ...     variables = {'params': {'w': jnp.ones((2, 3))}}
    ...     size = export.save(path, apply, variables, jnp.ones((1, 2)))
    ...     export.load(path)(jnp.ones((4, 2))).shape
    (4, 3)
    """
    import_flatbuffers()
    program = make_program(
        model,
        variables,
        args,
        kwargs,
        rngs=rngs,
        method=method,
        mutable=mutable,
        shapes=shapes,
    )
    exported = trace(program, platforms, disabled_checks)
    try:
        serialized = exported.serialize(vjp_order=vjp_order)
    except Exception as error:  # callbacks: NotImplementedError, RuntimeError
        raise ExportError(
            f"JAX cannot write the program of {program.name}: "
            f"{type(error).__name__}: {first_line(error)}. {CALLBACKS} And "
            "with a `vjp_order`, the model must have derivatives."
        ) from error
    called = method if isinstance(method, str) else getattr(method, "__name__", None)
    described = describe(program, exported, called, mutable, vjp_order)
    return write_archive(path, described, serialized, program.weights)


def import_flatbuffers() -> None:
    """Checks that JAX can serialize programs.

    Raises:
      ImportError: flatbuffers is not installed; the message says how to install it.

    >>> import_flatbuffers()
    """
    try:
        import flatbuffers  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise ImportError(
            "JAX reads and writes exported programs with the package flatbuffers, "
            "which is not installed: pip install flatbuffers (the extra export of "
            "batiste-training)."
        ) from error

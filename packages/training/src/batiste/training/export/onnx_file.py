"""A model as an ONNX file, through the library jax2onnx."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from batiste.core.types import Tree

from ..checkpoints.msgpack import write_file
from ..errors import ExportError
from .inputs import Shapes, first_line
from .program import make_program

__all__ = ["import_jax2onnx", "to_onnx"]


def to_onnx(
    path: str | os.PathLike[str],
    model: Any,
    variables: Tree,
    *args: Tree,
    method: Callable[..., Any] | str | None = None,
    mutable: Any = False,
    shapes: Shapes = "batch, ...",
    opset: int | None = None,
    **kwargs: Tree,
) -> None:
    """Writes a model with its variables as an ONNX file.

    The library jax2onnx translates the operations one by one, so what it writes is near
    to what JAX computes and not the same, and some operations it does not have, or
    writes such that a runtime refuses them. Compare the results before you use a file.

    Args:
      path: the file. One that is there is replaced when the new one is complete.
      model: as for `save`.
      variables: as for `save`.
      *args: as for `save`; each is one array.
      method: as for `save`.
      mutable: as for `save`.
      shapes: as for `save`.
      opset: the version of ONNX's operations; None for the library's default.
      **kwargs: as for `save`; inputs among them follow the positional ones.

    Raises:
      ExportError: what `save` raises it for, or jax2onnx cannot translate the model.
      ImportError: jax2onnx is missing.
      OSError: the file cannot be written.
    """
    program = make_program(
        model, variables, args, kwargs, method=method, mutable=mutable, shapes=shapes
    )
    jax2onnx = import_jax2onnx()
    inputs = dict(program.inputs.named())
    nested = [name for name, tree in inputs.items() if not hasattr(tree, "shape")]
    if nested:
        raise ExportError(
            f'The inputs of an ONNX file are arrays, and "{nested[0]}" is a container. '
            "Export a function that takes its arrays one by one."
        )
    weights, count = program.weights, len(program.inputs.names)

    def function(*arrays: Any) -> Tree:
        keyword = dict(zip(program.inputs.keyword, arrays[count:]))
        return program.function(weights, *arrays[:count], **keyword)

    options = {} if opset is None else {"opset": opset}
    try:
        found = jax2onnx.to_onnx(
            function,
            list(inputs.values()),
            model_name=program.name,
            input_names=list(inputs),
            **options,
        )
    except Exception as error:  # of the library, of whatever type
        raise ExportError(
            f"jax2onnx cannot translate {program.name}: {type(error).__name__}: "
            f"{first_line(error)}. `save` and `to_saved_model` take all that JAX can."
        ) from error
    data = found.SerializeToString()
    write_file(lambda file: file.write(data), os.fspath(path))


def import_jax2onnx() -> Any:
    """Returns the module `jax2onnx`.

    Raises:
      ImportError: it is not installed; the message says how to install it.
    """
    try:
        import jax2onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "ONNX files are written with the package jax2onnx, which is not installed: "
            "pip install jax2onnx (the extra onnx of batiste-training)."
        ) from error
    return jax2onnx

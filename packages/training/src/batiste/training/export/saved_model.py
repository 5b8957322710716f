"""A model as a SavedModel of TensorFlow, through `jax2tf`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import numpy as jnp

from batiste.core.types import Tree

from .. import io
from ..checkpoints.removal import remove_entry, temporary_path
from ..errors import AlreadyExistsError, ExportError
from .inputs import Shapes
from .program import Program, make_program
from .trees import leaf_paths

__all__ = ["import_tensorflow", "to_saved_model"]


def to_saved_model(
    path: str | os.PathLike[str],
    model: Any,
    variables: Tree,
    *args: Tree,
    rngs: Tree = None,
    method: Callable[..., Any] | str | None = None,
    mutable: Any = False,
    shapes: Shapes = "batch, ...",
    platforms: Sequence[str] | None = None,
    with_gradient: bool = False,
    overwrite: bool = False,
    **kwargs: Tree,
) -> None:
    """Writes a model with its variables as a SavedModel, for TensorFlow's servers.

    The folder has the variables as `tf.Variable`s, a function `predict` of the inputs,
    which returns what the model returns, and the signature `serving_default`, with
    names for all: an input in a container is named by its path, `state_h`, and so are
    results: `output`, or `output_logits`.

    Args:
      path: the folder, which appears when it is complete.
      model: as for `save`.
      variables: as for `save`.
      *args: as for `save`.
      rngs: as for `save`; keys are those of `jax.random.PRNGKey`.
      method: as for `save`.
      mutable: as for `save`.
      shapes: as for `save`.
      platforms: as for `save`.
      with_gradient: whether TensorFlow can differentiate it.
      overwrite: whether a folder that is there is replaced.
      **kwargs: as for `save`.

    Raises:
      AlreadyExistsError: `path` exists, and `overwrite` is false.
      ExportError: what `save` raises it for; or an input is of a type that TensorFlow
        lacks, such as `jax.random.key`.
      ImportError: TensorFlow is missing, or JAX no longer has `jax2tf`.

    >>> to_saved_model('.', None, {})
    Traceback (most recent call last):
      ...
    batiste.training.errors.AlreadyExistsError: "." already exists. ...
    """
    name = os.fspath(path)
    if io.exists(name) and not overwrite:
        raise AlreadyExistsError(name)
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
    tf, jax2tf = import_tensorflow()
    inputs = _inputs(program)
    structure = jax.tree.structure(program.plain_inputs())

    def function(weights: list[Any], *leaves: Any) -> Tree:
        positional, keyword = structure.unflatten(leaves)
        return program.function(weights, *positional, **keyword)

    converted = jax2tf.convert(
        function,
        polymorphic_shapes=[None, *(_shape_text(spec) for spec in inputs.values())],
        with_gradient=with_gradient,
        native_serialization_platforms=platforms,
    )
    module = tf.Module()
    module.weights = [tf.Variable(jax.device_get(w)) for w in program.weights]
    signature = [
        tf.TensorSpec(
            [s if isinstance(s, int) else None for s in spec.shape], spec.dtype, n
        )
        for n, spec in inputs.items()
    ]

    def compiled(run: Callable[..., Any]) -> Any:
        return tf.function(
            run, input_signature=signature, autograph=False, jit_compile=True
        )

    module.predict = compiled(lambda *leaves: converted(module.weights, *leaves))
    named = compiled(lambda *leaves: _named(converted(module.weights, *leaves)))
    temporary = temporary_path(name)
    try:
        tf.saved_model.save(module, temporary, signatures=named)
        if overwrite:
            remove_entry(name)
        io.rename(temporary, name)
    finally:
        remove_entry(temporary)


def import_tensorflow() -> tuple[Any, Any]:
    """Returns the modules `tensorflow` and `jax.experimental.jax2tf`.

    Raises:
      ImportError: one of them is missing; the message says what to do.
    """
    try:
        import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]
        from jax.experimental import jax2tf
    except ImportError as error:
        raise ImportError(
            "A SavedModel is written with TensorFlow and jax.experimental.jax2tf, and "
            f"importing them failed ({error}): pip install tensorflow (the extra "
            "tensorflow of batiste-training), or tensorflow-cpu. A JAX that has no "
            "jax2tf any more cannot write one; `save` needs neither."
        ) from error
    return tf, jax2tf


def _inputs(program: Program) -> dict[str, Any]:
    """The arrays that go in, by a name that TensorFlow takes."""
    positional, keyword = program.plain_inputs()
    names = program.inputs.names
    found = {}
    pairs = [*zip(names, positional), *((n, keyword[n]) for n in sorted(keyword))]
    for name, tree in pairs:
        for path, spec in leaf_paths(tree, name):
            if jnp.issubdtype(spec.dtype, jax.dtypes.prng_key):
                raise ExportError(
                    f'TensorFlow has no type for the key "{path}". Give it as '
                    "`jax.random.PRNGKey(...)`, an array of integers."
                )
            found[path.replace("/", "_")] = spec
    return found


def _sizes(spec: Any) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in spec.shape]


def _shape_text(spec: Any) -> str:
    return f"({', '.join(map(str, spec.shape))})"


def _named(outputs: Tree) -> dict[str, Any]:
    return {p.replace("/", "_"): leaf for p, leaf in leaf_paths(outputs, "output")}

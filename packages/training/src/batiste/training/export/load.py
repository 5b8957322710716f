"""Reading an exported model back, and calling it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import export as jax_export
from jax import numpy as jnp
from jax.sharding import Mesh

from batiste.core.errors import name_hint, quoted, short_repr
from batiste.core.types import Tree

from ..errors import ExportedCallError, ExportedFileError
from .archive import Archive, read_archive
from .description import array_text, fixed_value
from .devices import Placing, mesh_for
from .save import import_flatbuffers
from .trees import difference, leaf_paths, plain, rebuilder

__all__ = [
    "ExportedModel",
    "load",
]


def load(
    path: str | os.PathLike[str], *, like: Tree = None, mesh: Mesh | None = None
) -> ExportedModel:
    """Reads a model that `save` wrote. Its source is not needed.

    A program is code: load files only from where you would take code.

    Args:
      path: the file.
      like: a pytree with the structure that results should have, such as
        `jax.eval_shape(model.apply, variables, x)`; its leaves are not used. Without
        it, results are made of dicts, lists and tuples.
      mesh: the devices of a program that says how arrays are split over several, in a
        mesh of the sizes of that with which it was exported; by default the first
        that JAX has. Other programs do not need it.

    Returns:
      A function of the model's inputs.

    Raises:
      ExportedFileError: the file is none that `save` wrote, is damaged, or was written
        by a JAX whose programs this one does not run; or `like` has not the structure
        of the results; or there are not as many devices as it is for, or in another
        mesh.
      OSError: the file cannot be read.
      ImportError: the package flatbuffers is missing.

    >>> import os, tempfile, jax.numpy as jnp
    >>> from batiste.training import export
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'model.zip')
    ...     double = lambda w, x: {'y': w * x}
    ...     _ = export.save(path, double, jnp.float32(2), x=jnp.ones(3))
    ...     model = export.load(path)
    >>> model
    ExportedModel <lambda>(*, x: float32[batch]) -> {"y": "float32[batch]"}
    >>> model(x=jnp.arange(2.0))['y'].tolist()
    [0.0, 2.0]
    """
    import_flatbuffers()
    archive = read_archive(path)
    try:
        return ExportedModel(path, archive, like, mesh)
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, ExportedFileError):
            raise
        raise ExportedFileError(
            path,
            f"its parts do not fit each other ({type(error).__name__}: {error}). Take "
            "another copy of it, or export the model again.",
        ) from error


class ExportedModel:
    """A model from a file: a function of its inputs.

    It is called as the model was, without the variables, and with the arguments that
    were inputs. `jax.jit` and, as often as `vjp_order` said, `jax.grad` take it;
    `jax.vmap` does not, since the program has no rule for it.

    Attributes:
      metadata: what the file says of itself, as JSON has it.
      program: the `jax.export.Exported`; it takes the weights as a list, and then the
        inputs.
      weights: the arrays that the program takes, in its order.
      inputs: the names of the inputs, with plain trees of their shapes and dtypes.
      outputs: the plain tree of the shapes and dtypes of the results.
      mesh: the devices of a program for several; None of one for one.

    Raises:
      ExportedCallError: it is called with what it does not take: an unknown argument,
        another structure, shape or dtype, another value of a fixed argument; or on a
        platform that it was not exported for.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        archive: Archive,
        like: Tree = None,
        mesh: Mesh | None = None,
    ):
        self.path = os.fspath(path)
        self.metadata = archive.metadata
        self.program = _program(path, archive)
        program = self.program
        (specs, *positional), keyword = jax.tree.unflatten(
            program.in_tree, program.in_avals
        )
        names = list(archive.metadata["positional"])
        if (
            len(names) != len(positional)
            or keyword.keys() != archive.metadata["keyword"].keys()
        ):
            raise ValueError("its program has other arguments than its description")
        self.inputs: dict[str, Tree] = {**dict(zip(names, positional)), **keyword}
        self.outputs: Tree = jax.tree.unflatten(program.out_tree, program.out_avals)
        sizes = archive.metadata.get("mesh")
        if program.nr_devices != math.prod((sizes or {}).values()):
            raise ValueError("its program has another mesh than its description")
        self._placing = None
        if sizes:
            self._placing = Placing(mesh_for(path, sizes, mesh), sizes)
        self.mesh = self._placing and self._placing.mesh
        splits = archive.metadata.get("splits") or [None] * len(specs)
        pairs = zip(archive.weights, specs, splits, strict=True)
        self.weights = [
            self._placed(_typed(number, array, spec), split)
            for number, (array, spec, split) in enumerate(pairs)
        ]
        self._names = names
        self._fixed: Mapping[str, Any] = archive.metadata["fixed"]
        self._call = jax.jit(program.call)
        self._rebuild = None if like is None else rebuilder(like)
        if like is not None:
            problem = difference(plain(like), self.outputs, "like")
            if problem is not None:
                raise ExportedFileError(
                    path, f"{problem}: the results are {_tree_text(self.outputs)}."
                )

    def _placed(self, array: np.ndarray, split: Any) -> jax.Array:
        if self._placing is None:
            return jnp.asarray(array)
        return self._placing.weight(array, split)

    @property
    def variables(self) -> Tree:
        """The variables, in dicts, lists and tuples as they were given to `save`."""
        leaves: list[Any] = list(self.weights)
        for number, impl in self.metadata["keys"].items():
            leaves[int(number)] = jax.random.wrap_key_data(
                leaves[int(number)], impl=impl
            )
        return jax.tree.map(lambda number: leaves[number], self.metadata["variables"])

    def __call__(self, *args: Tree, **kwargs: Tree) -> Tree:
        """Runs the model; see the class."""
        given = self._bound(args, kwargs)
        arrays = {
            name: _checked(name, given[name], spec)
            for name, spec in self.inputs.items()
        }
        weights = self.weights
        if self._placing is not None:
            weights, arrays = self._placing.call(weights, arrays)
        positional = [arrays.pop(name) for name in self._names]
        try:
            found = self._call(weights, *positional, **arrays)
        except ValueError as error:  # sizes that differ, another platform
            raise ExportedCallError(
                f"{self.metadata['model']} from {self.path!r}: {error} It was exported "
                f"for {', '.join(self.program.platforms)} by JAX "
                f"{self.metadata['versions']['jax']}, and this is JAX "
                f"{jax.__version__} on {jax.default_backend()}."
            ) from error
        return found if self._rebuild is None else self._rebuild(found)

    def _bound(
        self, args: tuple[Tree, ...], kwargs: dict[str, Tree]
    ) -> dict[str, Tree]:
        if len(args) > len(self._names):
            raise ExportedCallError(
                f"{len(args)} positional arguments were given, and {self!r} takes "
                f"{len(self._names)}."
            )
        given = dict(zip(self._names, args))
        for name, value in kwargs.items():
            if name in given:
                raise ExportedCallError(f'"{name}" was given twice. {self!r}')
            if name in self.inputs:
                given[name] = value
            elif name not in self._fixed:
                known = [*self.inputs, *self._fixed]
                raise ExportedCallError(
                    f'There is no argument "{name}".{name_hint(name, known)} What the '
                    "model takes beside them was left at its default when it was "
                    "exported."
                )
            elif fixed_value(value) != self._fixed[name] or isinstance(
                self._fixed[name], dict
            ):
                raise ExportedCallError(
                    f'"{name}" was fixed when the model was exported, as '
                    f"{_fixed_text(self._fixed[name])}, and cannot be "
                    f"{short_repr(value)}. Leave it out, or export the model again."
                )
        missing = [name for name in self.inputs if name not in given]
        if missing:
            raise ExportedCallError(f"{quoted(missing)} must be given. {self!r}")
        return given

    def __repr__(self) -> str:
        keyword = [name for name in self.inputs if name not in self._names]
        inputs = {name: f"{name}: {_tree_text(s)}" for name, s in self.inputs.items()}
        parts = [inputs[name] for name in self._names]
        if keyword or self._fixed:
            parts.append("*")
        parts += [inputs[name] for name in keyword]
        parts += [f"{name}={_fixed_text(v)}" for name, v in self._fixed.items()]
        return (
            f"ExportedModel {self.metadata['model']}({', '.join(parts)}) -> "
            f"{_tree_text(self.outputs)}"
        )


def _program(path: str | os.PathLike[str], archive: Archive) -> jax_export.Exported:
    metadata = archive.metadata
    version = metadata["calling_convention_version"]
    lowest = jax_export.minimum_supported_calling_convention_version
    highest = jax_export.maximum_supported_calling_convention_version
    writer, here = metadata["versions"]["jax"], jax.__version__
    if not lowest <= version <= highest:
        step = (
            f"Upgrade JAX, to {writer} or later"
            if version > highest
            else f"Load it with JAX {writer}, or export the model again"
        )
        raise ExportedFileError(
            path,
            f"its program follows version {version} of JAX's calling convention, as "
            f"JAX {writer} wrote it, and JAX {here} runs {lowest} to {highest}. "
            f"{step}.",
        )
    try:
        program = jax_export.deserialize(bytearray(archive.program))
    except Exception as error:  # of flatbuffers or JAX, of whatever type
        raise ExportedFileError(
            path,
            f"JAX {here} cannot read its program, which JAX {writer} wrote "
            f"({type(error).__name__}: {error}). Upgrade JAX if it is older than that; "
            "otherwise take another copy of the file.",
        ) from error
    wide = [a for a in (*program.in_avals, *program.out_avals) if _is_wide(a)]
    if wide and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ExportedFileError(
            path,
            f"its program has numbers of 64 bits, such as {array_text(wide[0])}, which "
            'are switched off here. Call jax.config.update("jax_enable_x64", True) '
            "before.",
        )
    return program


def _is_wide(aval: Any) -> bool:
    return isinstance(aval.dtype, np.dtype) and aval.dtype.name in (
        *("float64", "int64", "uint64", "complex128"),
    )


def _typed(number: int, array: np.ndarray, spec: Any) -> np.ndarray:
    """An array with the element type that NumPy may not have."""
    if array.dtype.kind == "V" and array.dtype.itemsize == spec.dtype.itemsize:
        array = array.view(spec.dtype)
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise ValueError(
            f"weight {number} is {array_text(array)}, and the program takes "
            f"{array_text(spec)}"
        )
    return array


def _checked(name: str, given: Tree, expected: Tree) -> Tree:
    """The arrays of an argument as a plain tree, if they fit."""
    tree = plain(given)
    problem = difference(tree, expected, name)
    if problem is not None:
        raise ExportedCallError(f"The argument {problem}: {_tree_text(expected)}.")
    specs = jax.tree.leaves(expected)
    leaves = [
        _fitting(path, leaf, spec)
        for (path, leaf), spec in zip(leaf_paths(tree, name), specs)
    ]
    return jax.tree.unflatten(jax.tree.structure(expected), leaves)


_SCALARS = {bool: jnp.bool_, int: jnp.number, float: jnp.inexact}


def _fitting(path: str, leaf: Any, spec: Any) -> Any:
    kind = _SCALARS.get(type(leaf))
    if kind is not None and not spec.shape and jnp.issubdtype(spec.dtype, kind):
        return jnp.asarray(leaf, spec.dtype)
    array = None
    if not isinstance(leaf, (str, bytes)):
        with contextlib.suppress(TypeError, ValueError):
            array = jnp.asarray(leaf)
    if (
        array is None
        or array.dtype != spec.dtype
        or array.ndim != len(spec.shape)
        or any(
            size != wanted and not jax_export.is_symbolic_dim(wanted)
            for size, wanted in zip(array.shape, spec.shape)
        )
    ):
        found = short_repr(leaf) if array is None else array_text(array)
        raise ExportedCallError(
            f'The argument "{path}" is {found}, and takes {array_text(spec)}.'
        )
    return array


def _tree_text(tree: Tree) -> str:
    texts = jax.tree.map(array_text, tree)
    return texts if isinstance(texts, str) else json.dumps(texts)


def _fixed_text(value: Any) -> str:
    return value["of"] if isinstance(value, dict) else repr(value)

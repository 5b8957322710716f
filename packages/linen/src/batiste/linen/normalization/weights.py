"""Layers that normalize the weights of another layer: WeightNorm and SpectralNorm."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from batiste.core import meta
from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Array, Dtype, Initializer, Path, Tree, Variables

from .. import initializers, ops
from ..dtypes import canonicalize_dtype
from ..module.methods import compact
from ..module.module import Module
from ..module.text import located
from ..types import Axes
from .moments import canonical_axes, other_axes

__all__ = ["SpectralNorm", "WeightNorm"]

Transform: TypeAlias = Callable[[Path, Array], Array]
"""Makes the weight that a layer sees of its path and the weight that is stored."""


class SpectralNorm(Module):
    """Divides the weights of a layer by their largest singular value.

    The singular value is estimated by power iteration. Its state, for every parameter
    of two or more axes, lies in the collection `batch_stats`: `u`, of shape
    (1, last axis), and `sigma`, a scalar, under `<layer>/<parameter>/u` and `/sigma`.
    (Miyato et al. 2018, arXiv:1802.05957.)

    Attributes:
      layer_instance: the layer.
      n_steps: how many steps of the iteration to make per call; with none, weights
        are left as they are.
      epsilon: added to the squared norms that the iteration divides by.
      dtype: the dtype of the weights; inferred if None.
      param_dtype: the dtype in which `u` and `sigma` are initialized.
      error_on_non_matrix: whether to reject parameters of three or more axes, which
        otherwise are flattened to matrices with their last axis as columns.
      collection_name: the collection of the state.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from batiste.linen.linear import Dense
    >>> layer = SpectralNorm(Dense(3))
    >>> x = jnp.ones((2, 4))
    >>> variables = layer.init(jax.random.key(0), x, update_stats=False)
    >>> y, updates = layer.apply(
    ...     variables, x, update_stats=True, mutable=["batch_stats"]
    ... )
    >>> sorted(updates["batch_stats"])
    ['layer_instance/kernel/sigma', 'layer_instance/kernel/u']
    """

    layer_instance: Module
    n_steps: int = 1
    epsilon: float = 1e-12
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    error_on_non_matrix: bool = False
    collection_name: str = "batch_stats"

    @compact
    def __call__(self, *args: Any, update_stats: bool, **kwargs: Any) -> Any:
        """Calls the layer with normalized weights.

        Args:
          *args: what the layer takes.
          update_stats: whether to store the new `u` and `sigma`, as in training; the
            collection must be mutable then.
          **kwargs: what the layer takes.

        Raises:
          ValueError: a parameter has more than two axes and `error_on_non_matrix` is
            set.
          ModifyScopeVariableError: the state is to be stored in a collection that is
            not mutable.
        """
        normalize = functools.partial(_spectrally_normalized, self, update_stats)
        # The layer may change its other variables, as a BatchNorm does.
        return _call_with_mapped_weights(self, normalize, True, args, kwargs)


def _spectrally_normalized(
    module: SpectralNorm, update_stats: bool, path: Path, weight: Array
) -> Array:
    """`weight / sigma`, with the state for its path declared in the module."""
    value = jnp.asarray(weight)
    shape = value.shape
    # A bias stays as it is: a vector is no linear map of its input.
    if value.ndim <= 1 or module.n_steps < 1:
        return weight
    name = _name_of(module.layer_instance, path)
    if value.ndim > 2:
        if module.error_on_non_matrix:
            raise InvalidArgumentError(
                f"{located(module)}: the parameter {name!r} of shape {shape} is no "
                "matrix, and error_on_non_matrix is set; leave that out to flatten it "
                "to a matrix with its last axis as columns"
            )
        value = jnp.reshape(value, (-1, shape[-1]))
    u_state = module.variable(
        module.collection_name,
        f"{name}/u",
        lambda: initializers.normal(1.0)(
            module.make_rng("params"), (1, shape[-1]), module.param_dtype
        ),
    )
    sigma_state = module.variable(
        module.collection_name,
        f"{name}/sigma",
        lambda: jnp.ones((), module.param_dtype),
    )
    before = jnp.asarray(u_state.value)
    kept = jnp.promote_types(before.dtype, value.dtype)
    value = _widened(value)
    u, v = _power_iteration(value, _widened(before), module.n_steps, module.epsilon)
    sigma = jnp.matmul(jnp.matmul(v, value), u.T)[0, 0]
    value = value / lax.select(sigma != 0, sigma, np.ones((), sigma.dtype))
    if update_stats:
        u_state.value = u.astype(kept)
        sigma_state.value = sigma.astype(kept)
    dtype = canonicalize_dtype(weight, before, dtype=module.dtype)
    return jnp.asarray(jnp.reshape(value, shape), dtype)


def _power_iteration(
    matrix: Array, u: Array, n_steps: int, epsilon: float
) -> tuple[Array, Array]:
    """Moves `u` and `v` towards the singular vectors of the largest singular value.

    Algorithm 1 of the paper: `v = W u / |W u|`, then `u = W^T v / |W^T v|`; here they
    are rows, of shapes (1, columns) and (1, rows) for a matrix (rows, columns).
    """
    v = u
    for _ in range(n_steps):
        v = _unit(jnp.matmul(u, matrix.T), (0, 1), epsilon)
        u = _unit(jnp.matmul(v, matrix), (0, 1), epsilon)
    return lax.stop_gradient(u), lax.stop_gradient(v)


class WeightNorm(Module):
    """Parametrizes weights of a layer by their direction and their length.

    Each weight is divided by its Euclidean norm, taken over all axes but
    `feature_axes`, and multiplied by a learned `scale`, the parameter
    `<layer>/<parameter>/scale` of the sizes of the feature axes. (Salimans and Kingma
    2016, arXiv:1602.07868.)

    Attributes:
      layer_instance: the layer.
      epsilon: added to the squared norm.
      dtype: the dtype of the weights; inferred if None.
      param_dtype: the dtype in which the scale is initialized.
      use_scale: whether to multiply by a scale.
      scale_init: initializer of the scale.
      feature_axes: the axes with norms of their own; with None there is one norm for
        the whole weight.
      variable_filter: normalizes those weights in whose path (`a/b/kernel`) one of
        these strings occurs; all of them if it is None or empty.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from batiste.linen.linear import Dense
    >>> layer = WeightNorm(Dense(3))
    >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 4)))
    >>> sorted(variables["params"])
    ['layer_instance', 'layer_instance/kernel/scale']
    """

    layer_instance: Module
    epsilon: float = 1e-12
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_scale: bool = True
    scale_init: Initializer = initializers.ones
    feature_axes: Axes | None = -1
    variable_filter: Iterable[str] | None = field(default_factory=lambda: {"kernel"})

    @compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer, with what it takes, with its weights normalized.

        Raises:
          ValueError: a weight does not have the feature axes.
        """
        normalize = functools.partial(_weight_normalized, self)
        return _call_with_mapped_weights(self, normalize, False, args, kwargs)


def _weight_normalized(module: WeightNorm, path: Path, weight: Array) -> Array:
    """`scale * weight / |weight|`, with the scale declared in the module."""
    name = _name_of(module.layer_instance, path)
    wanted = tuple(module.variable_filter or ())
    if wanted and not any(part in name for part in wanted):
        return weight
    value = jnp.asarray(weight)
    shape = value.shape
    feature_axes: tuple[int, ...] = ()
    if module.feature_axes is not None:
        feature_axes = canonical_axes(
            module, "feature_axes", module.feature_axes, shape
        )
    value = _unit(value, other_axes(value.ndim, feature_axes), module.epsilon)
    params: list[Array] = []
    if module.use_scale:
        features = tuple(shape[axis] for axis in feature_axes)
        scale = module.param(
            f"{name}/scale", module.scale_init, features, module.param_dtype
        )
        params.append(scale)
        along = [n if i in feature_axes else 1 for i, n in enumerate(shape)]
        value = value * jnp.reshape(scale, along)
    dtype = canonicalize_dtype(weight, *params, dtype=module.dtype)
    return jnp.asarray(value, dtype)


def _unit(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """`x` divided by its Euclidean norm over `axes`, in float32 or wider."""
    x = _widened(x)
    squares = jnp.sum(x * x, axis=axes, keepdims=True)
    return x * lax.rsqrt(squares + epsilon)


def _widened(x: Array) -> Array:
    """`x` in a dtype in which squares neither overflow nor vanish."""
    return jnp.asarray(x, ops.accumulator_of(x.dtype))


def _name_of(layer: Module, path: Path) -> str:
    return "/".join((str(layer.name), *path))


def _call_with_mapped_weights(
    module: SpectralNorm | WeightNorm,
    transform: Transform,
    mutable: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Calls `module.layer_instance` with its variables mapped by `transform`.

    With `mutable` the layer may change its variables.
    """
    # Whoever imports BatchNorm should not wait until all transforms are imported.
    from ..transforms.variables import map_variables

    def map_collections(variables: Variables) -> dict[str, Tree]:
        return {
            col: _map_leaves(transform, variables[col]) for col in sorted(variables)
        }

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return layer(*args, **kwargs)

    # It is no method, and nothing that interceptors should see.
    call.method_handler_wrapped = True  # type: ignore[attr-defined]
    mapped_call = map_variables(
        call,
        trans_in_fn=map_collections,
        init=module.is_initializing(),
        mutable=mutable,
    )
    return mapped_call(module.layer_instance, *args, **kwargs)


def _map_leaves(transform: Transform, tree: Tree, path: Path = ()) -> Tree:
    """Applies `transform(path, leaf)` to nested dicts and boxes, in the keys' order.

    The order decides which key each parameter that `transform` declares is drawn
    with, so it is the sorted one of a pytree, whatever order the keys came in.
    """
    if isinstance(tree, Mapping):
        return {k: _map_leaves(transform, tree[k], (*path, k)) for k in sorted(tree)}
    if isinstance(tree, meta.AxisMetadata):
        # The names of a box's fields are in the path too, as in that of any pytree.
        return jax.tree_util.tree_map_with_path(
            lambda inner, leaf: transform((*path, *map(_key_name, inner)), leaf), tree
        )
    return transform(path, tree)


def _key_name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)

"""Layers that normalize the weights of another layer: WeightNorm and SpectralNorm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from batiste.core import meta

from .. import initializers
from ..dtypes import canonicalize_dtype
from ..module.methods import compact
from ..module.module import Module
from ..module.text import located
from ..types import Array, Axes, Dtype, Initializer
from .moments import canonical_axes

__all__ = ["SpectralNorm", "WeightNorm"]

_NON_MATRIX = (
    "{module}: Input is {rank}D but error_on_non_matrix is True; the parameter "
    "{path!r} has shape {shape}. With error_on_non_matrix=False it is flattened to a "
    "matrix with its last axis as columns"
)


def _unit(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """`x` divided by its Euclidean norm over `axes`."""
    squares = jnp.sum(x * x, axis=axes, keepdims=True)
    return x * lax.rsqrt(squares + epsilon)


def _map_leaves(transform: Any, tree: Any, path: tuple[str, ...] = ()) -> Any:
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


def _call_with_mapped_weights(
    module: Any, transform: Any, mutable: bool, args: Any, kwargs: Any
) -> Any:
    """Calls `module.layer_instance` with its variables mapped by `transform`.

    With `mutable` the layer may change its other variables, as a BatchNorm does.
    """
    # transforms imports the layers' base, so it is imported when it is needed.
    from ..transforms import map_variables

    def map_collections(variables: Mapping[str, Any]) -> dict[str, Any]:
        return {
            col: _map_leaves(transform, variables[col]) for col in sorted(variables)
        }

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return layer(*args, **kwargs)

    mapped_call: Any = map_variables(
        call,
        trans_in_fn=map_collections,
        init=module.is_initializing(),
        mutable=mutable,
    )
    return mapped_call(module.layer_instance, *args, **kwargs)


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

        def normalize(path: tuple[str, ...], weight: Array) -> Array:
            return self._normalized(path, weight, update_stats)

        return _call_with_mapped_weights(self, normalize, True, args, kwargs)

    def _normalized(
        self, path: tuple[str, ...], weight: Array, update_stats: bool
    ) -> Array:
        value = jnp.asarray(weight)
        shape = value.shape
        # A bias stays as it is: a vector is no linear map of its input.
        if value.ndim <= 1 or self.n_steps < 1:
            return weight
        name = "/".join((str(self.layer_instance.name), *path))
        if value.ndim > 2:
            if self.error_on_non_matrix:
                raise ValueError(
                    _NON_MATRIX.format(
                        module=located(self), rank=value.ndim, path=name, shape=shape
                    )
                )
            value = jnp.reshape(value, (-1, shape[-1]))
        u_variable = self.variable(
            self.collection_name,
            f"{name}/u",
            lambda: initializers.normal(1.0)(
                self.make_rng("params"), (1, shape[-1]), self.param_dtype
            ),
        )
        sigma_variable = self.variable(
            self.collection_name,
            f"{name}/sigma",
            lambda: jnp.ones((), self.param_dtype),
        )
        u = u_variable.value
        v = u
        for _ in range(self.n_steps):
            v = _unit(jnp.matmul(u, value.T), (0, 1), self.epsilon)
            u = _unit(jnp.matmul(v, value), (0, 1), self.epsilon)
        u, v = lax.stop_gradient(u), lax.stop_gradient(v)
        sigma = jnp.matmul(jnp.matmul(v, value), u.T)[0, 0]
        one = np.ones((), sigma.dtype)
        value = value / lax.select(sigma != 0, sigma, one)
        if update_stats:
            u_variable.value = u
            sigma_variable.value = sigma
        dtype = canonicalize_dtype(weight, u, v, sigma, dtype=self.dtype)
        return jnp.asarray(jnp.reshape(value, shape), dtype)


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
        return _call_with_mapped_weights(self, self._normalized, False, args, kwargs)

    def _normalized(self, path: tuple[str, ...], weight: Array) -> Array:
        name = "/".join((str(self.layer_instance.name), *path))
        wanted = tuple(self.variable_filter or ())
        if wanted and not any(part in name for part in wanted):
            return weight
        value = jnp.asarray(weight)
        shape = value.shape
        feature_axes: tuple[int, ...] = ()
        if self.feature_axes is not None:
            feature_axes = canonical_axes(
                self, "feature_axes", self.feature_axes, shape
            )
        others = tuple(i for i in range(value.ndim) if i not in feature_axes)
        value = _unit(value, others, self.epsilon)
        params = []
        if self.use_scale:
            scale = self.param(
                f"{name}/scale",
                self.scale_init,
                tuple(shape[axis] for axis in feature_axes),
                self.param_dtype,
            )
            params.append(scale)
            value = value * jnp.reshape(
                scale, [n if i in feature_axes else 1 for i, n in enumerate(shape)]
            )
        dtype = canonicalize_dtype(weight, *params, dtype=self.dtype)
        return jnp.asarray(value, dtype)

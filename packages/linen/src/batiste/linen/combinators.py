"""Combining modules: Sequential."""

from __future__ import annotations

from collections.abc import Sequence

from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Function, Tree

from .module.methods import compact
from .module.module import Module
from .module.text import located

__all__ = ["Sequential"]


class Sequential(Module):
    """Applies callables one after the other.

    The first takes the arguments of the call, each other one the result of the one
    before: a tuple as positional arguments, a dict as keyword arguments, and anything
    else as the one argument.

    Attributes:
      layers: modules and functions, in the order in which they are applied.

    Raises:
      ValueError: `layers` is not a sequence, or is empty when it is called.
      TypeError: a layer cannot be called.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from batiste.linen.linear import Dense
    >>> model = Sequential([Dense(4), jax.nn.relu, Dense(2)])
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> sorted(variables["params"])
    ['layers_0', 'layers_2']
    >>> model.apply(variables, jnp.ones((5, 3))).shape
    (5, 2)
    """

    layers: Sequence[Function]

    def __post_init__(self) -> None:
        if not isinstance(self.layers, Sequence) or isinstance(self.layers, str):
            raise InvalidArgumentError(
                f"'layers' must be a sequence, got '{type(self.layers).__name__}'; "
                "write Sequential([first, second]) with a list or a tuple of callables"
            )
        super().__post_init__()

    @compact
    def __call__(self, *args: Tree, **kwargs: Tree) -> Tree:
        """Applies all layers, and returns what the last one returns."""
        if not self.layers:
            raise InvalidArgumentError(
                f"Empty Sequential module {self.name}; it has no layer to apply, so "
                "give `layers` at least one"
            )
        outputs: Tree = None
        for index, layer in enumerate(self.layers):
            if not callable(layer):
                raise InvalidArgumentError(
                    f"{located(self)}: layer {index} is not callable: {layer!r}; it "
                    "must be a module or a function"
                )
            if index == 0:
                outputs = layer(*args, **kwargs)
            elif isinstance(outputs, tuple):
                outputs = layer(*outputs)
            elif isinstance(outputs, dict):
                outputs = layer(**outputs)
            else:
                outputs = layer(outputs)
        return outputs

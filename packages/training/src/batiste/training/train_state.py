"""One immutable object for what a training loop carries from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from batiste.core import struct
from batiste.core.frozen_dict import FrozenDict
from batiste.core.types import Array, Function, Tree

if TYPE_CHECKING:
    import optax

__all__ = [
    "OVERWRITE_WITH_GRADIENT",
    "TrainState",
]


# Collection whose "gradient" is its next value. Low-precision layers keep their
# scaling factors there: they are replaced after each step, not optimized.
OVERWRITE_WITH_GRADIENT = "_overwrite_with_gradient"

_REPLACED_BY_STEP = ("step", "params", "opt_state")


def _splits_overwritten(params: Tree) -> bool:
    """Whether `params` is `{'params': ..., OVERWRITE_WITH_GRADIENT: ...}`."""
    return isinstance(params, Mapping) and OVERWRITE_WITH_GRADIENT in params


class TrainState(struct.PyTreeNode):
    """A step counter, parameters, and the optimizer with its state.

    The state is a pytree: `step`, `params` and `opt_state` are its children, so it
    passes through `jax.jit`, `jax.lax.scan`, `replicate` and checkpoints whole.
    `apply_fn` and `tx` are static. Subclass it to carry more, such as batch
    statistics or a random key; extra fields are given to `create` and replaced by
    keyword in `apply_gradients`.

    If `params` is a mapping with a collection named `'_overwrite_with_gradient'`, the
    optimizer sees `params['params']` only, and that collection is replaced by its
    entry in the gradients.

    Attributes:
      step: number of updates applied so far; an integer or a scalar array.
      apply_fn: static; usually `model.apply`, kept at hand for the loss function.
      params: pytree of parameters.
      tx: static; an optax gradient transformation.
      opt_state: the state of `tx`.

    >>> import jax, jax.numpy as jnp, optax
    >>> from batiste.training.train_state import TrainState
    >>> def apply_fn(params, x):
    ...     return x @ params['w']
    >>> state = TrainState.create(
    ...     apply_fn=apply_fn, params={'w': jnp.ones(2)}, tx=optax.sgd(0.5))
    >>> def loss(params):
    ...     return jnp.sum(state.apply_fn(params, jnp.ones((1, 2))))
    >>> state = state.apply_gradients(grads=jax.grad(loss)(state.params))
    >>> state.step, state.params['w'].tolist()
    (1, [0.5, 0.5])
    """

    step: int | Array
    apply_fn: Function = struct.field(pytree_node=False)
    params: FrozenDict[str, Any] | Tree = struct.field(pytree_node=True)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)
    opt_state: optax.OptState = struct.field(pytree_node=True)

    def _repr_html_(self) -> str | None:
        from batiste.core import notebook  # only notebooks ask for it

        return notebook.page(lambda: notebook.tree("", self, shown=True))

    def apply_gradients(self, *, grads: Tree, **kwargs: Any) -> Self:
        """Returns the state after one optimizer step.

        Args:
          grads: pytree with the structure and shapes of `params`.
          **kwargs: other fields to replace, by name.

        Returns:
          A state with `step + 1`, updated `params` and `opt_state`, and the given
          fields replaced; `self` is unchanged.

        Raises:
          TypeError: a keyword is no field of the state, or is one of `step`,
            `params` and `opt_state`, which the update itself sets.
          ValueError: `grads` does not have the structure of `params` (by optax).

        >>> import jax.numpy as jnp, optax
        >>> state = TrainState.create(
        ...     apply_fn=None, params={'w': jnp.ones(1)}, tx=optax.sgd(0.25))
        >>> state.apply_gradients(grads={'w': jnp.ones(1)}).params['w'].tolist()
        [0.75]
        """
        import optax

        for name in _REPLACED_BY_STEP:
            if name in kwargs:
                raise TypeError(
                    f"{type(self).__name__}.apply_gradients() sets {name!r} itself; "
                    f"leave it out, or set it on the result with .replace({name}=...)."
                )
        params: Tree = self.params
        if not _splits_overwritten(params):
            updates, opt_state = self.tx.update(grads, self.opt_state, params)
            new_params = optax.apply_updates(params, updates)
        else:
            trained = params["params"]
            updates, opt_state = self.tx.update(
                grads["params"], self.opt_state, trained
            )
            # The container keeps its type, so that a scan or a jit sees the same
            # tree going out as came in.
            new_params = type(params)(
                {
                    **params,
                    "params": optax.apply_updates(trained, updates),
                    OVERWRITE_WITH_GRADIENT: grads[OVERWRITE_WITH_GRADIENT],
                }
            )
        return self.replace(
            step=self.step + 1, params=new_params, opt_state=opt_state, **kwargs
        )

    @classmethod
    def create(
        cls,
        *,
        apply_fn: Function,
        params: Tree,
        tx: optax.GradientTransformation,
        **kwargs: Any,
    ) -> Self:
        """Returns a state at step 0, with the optimizer's state initialized.

        Args:
          apply_fn: function kept as `apply_fn`.
          params: pytree of parameters.
          tx: an optax gradient transformation.
          **kwargs: values for the fields of a subclass, by name.

        Raises:
          TypeError: a keyword is no field of the class, or is `step` or `opt_state`.

        >>> import jax.numpy as jnp, optax
        >>> TrainState.create(
        ...     apply_fn=None, params={'w': jnp.ones(1)}, tx=optax.sgd(0.1)).step
        0
        """
        for name in ("step", "opt_state"):
            if name in kwargs:
                raise TypeError(
                    f"{cls.__name__}.create() sets {name!r} itself; leave it out, or "
                    f"set it on the result with .replace({name}=...)."
                )
        trained = params["params"] if _splits_overwritten(params) else params
        return cls(
            step=0,
            apply_fn=apply_fn,
            params=params,
            tx=tx,
            opt_state=tx.init(trained),
            **kwargs,
        )

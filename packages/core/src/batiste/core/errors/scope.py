"""Errors of scopes: variables, keys, filters, and mixing with JAX transforms."""

import copy
from collections.abc import Iterable
from typing import Self, TypeAlias

from ..types import Shape
from .base import FlaxError, collection_names, name_hint, path_text, quoted, short_repr

__all__ = [
    "ApplyScopeInvalidVariablesStructureError",
    "ApplyScopeInvalidVariablesTypeError",
    "AxisMetadataError",
    "ImmutableVariableError",
    "InvalidFilterError",
    "InvalidRngError",
    "InvalidScopeError",
    "JaxTransformError",
    "LazyInitError",
    "ModifyScopeVariableError",
    "PartitioningUnspecifiedError",
    "ScopeCollectionNotFound",
    "ScopeParamNotFoundError",
    "ScopeParamShapeError",
    "ScopePath",
    "ScopeVariableNotFoundError",
    "passing_on",
]


ScopePath: TypeAlias = str | Iterable[object]
"""A path of names from the root down, or its text."""


# By transform the arguments that let collections in and out, and streams in.
_ALONG_AXES = {
    "variables": 'variable_axes={{"{0}": 0}}',
    "rngs": 'split_rngs={{"{0}": True}}',
}
_PASSING_ON = {
    "scan": {
        **_ALONG_AXES,
        "variables": 'variable_axes={{"{0}": 0}} (or variable_carry="{0}", '
        'or variable_broadcast="{0}" where it is the same at each step)',
    },
    "vmap": _ALONG_AXES,
    "pmap": _ALONG_AXES,
    "shard_map": _ALONG_AXES,
    "while_loop": {**_ALONG_AXES, "variables": 'carry_variables="{0}"'},
}
_OTHERS = {
    "variables": '`variables`, a filter that selects "{0}"',
    "rngs": '`rngs`, a filter that selects "{0}"',
}


def passing_on(transform: str, kind: str, name: str) -> str:
    """Says which argument of a lifted transform passes something on.

    Args:
      transform: the name of the transform.
      kind: what is to be passed on, "variables" or "rngs".
      name: the collection, or the PRNG stream.

    >>> passing_on("vmap", "rngs", "dropout")
    'split_rngs={"dropout": True}'
    """
    return _PASSING_ON.get(transform, _OTHERS)[kind].format(name)


def _to_create(transform: str, col: str) -> str:
    if transform == "while_loop":
        return (
            "A while_loop cannot make variables: make them before it. Where the module "
            "is being initialized, call the body once in place of the loop, as in "
            "carry = body_fn(module, carry); then apply what `init` returned."
        )
    return (
        f"The {transform} around it does not let new ones out. To create it, give the "
        f"{transform} {passing_on(transform, 'variables', col)}, or create it before."
    )


Missing: TypeAlias = tuple[str, ScopePath, Iterable[object]]
"""A branch that does not exist: its name, where it should be, and what is there."""


def _branch_hint(col: str, missing: Missing | None) -> str:
    if missing is None:
        return ""
    name, path, available = missing
    hint = name_hint(name, available)
    return f' The collection "{col}" has no "{name}" in "{path_text(path)}".{hint}'


class LazyInitError(FlaxError):
    """A variable depends on the value of an input that was given by shape alone.

    Raised by `lazy_init` when an initializer needs more than shapes and dtypes.

    Args:
      partial_val: the abstract value (anything with a shape and dtype) that came out.
      names: the variables which depend on values, where known.

    >>> import jax
    >>> print(LazyInitError(jax.ShapeDtypeStruct((8, 4), 'float32')))
    lazy_init cannot compute a variable: the value float32[8,4] depends on an input ...
    """

    def __init__(self, partial_val: object, *, names: Iterable[object] = ()) -> None:
        self.names = [str(name) for name in names]
        which = f"the variables {quoted(self.names)}" if self.names else "a variable"
        super().__init__(
            f"lazy_init cannot compute {which}: the value {short_repr(partial_val)} "
            "depends on an input of which only the shape and dtype were given. Let "
            "the initializer use only shapes and dtypes, or pass a real array for "
            "that input."
        )


class InvalidRngError(FlaxError, ValueError):
    """A key stream is missing, or what was given for it is not a JAX PRNG key.

    Args:
      msg: the whole text; it names the stream, the path and the fix.

    >>> print(InvalidRngError('scope "/drop" needs a key for "dropout".'))
    scope "/drop" needs a key for "dropout".
    """

    def __init__(self, msg: str) -> None:
        super().__init__(msg)


class ApplyScopeInvalidVariablesTypeError(FlaxError):
    """The variables given to `apply` or `bind` are no mapping of collections.

    Args:
      found: what was given, for the message.

    >>> str(ApplyScopeInvalidVariablesTypeError(found=[1]))[:60]
    'The variables must be a dictionary of collections, each of t'
    """

    def __init__(self, *, found: object = None) -> None:
        got = "" if found is None else f" Got a {type(found).__name__}."
        super().__init__(
            "The variables must be a dictionary of collections, each of them a "
            f"dictionary with string keys, such as {{'params': {{...}}}}.{got} Pass "
            "what `init` returned, or wrap the parameters: "
            "apply({'params': params}, ...)."
        )


class ApplyScopeInvalidVariablesStructureError(FlaxError):
    """The variables have one `'params'` level too many.

    Args:
      variables: the variables that were given.

    >>> str(ApplyScopeInvalidVariablesStructureError({'params': {'params': {}}}))[:58]
    'The variables hold a collection "params" inside the collec'
    """

    def __init__(self, variables: object) -> None:
        self.collections = collection_names(variables)
        super().__init__(
            'The variables hold a collection "params" inside the collection "params" '
            "({'params': {'params': ...}}), so no parameter would be found. Pass the "
            "inner dictionary once: variables['params'] in place of variables, or "
            "{'params': params} where params is not already wrapped."
        )


class ScopeParamNotFoundError(FlaxError):
    """A parameter was read that is not there and may not be created.

    Args:
      param_name: the parameter's name.
      scope_path: path of its scope, such as `'/encoder/Dense_0'`.
      available: the parameters that the scope has, for the message.
      transform: the lifted transform that does not let new ones out, if they could be
        created outside of it.
      missing: the branch above it that does not exist, if there is one: its name, the
        path of where it should be, and the names of what is there.

    >>> print(ScopeParamNotFoundError('kernal', '/Dense_0', available=['kernel']))
    No parameter "kernal" in scope "/Dense_0". It has "kernel"; did you mean ...
    """

    def __init__(
        self,
        param_name: str,
        scope_path: ScopePath,
        *,
        available: Iterable[object] = (),
        transform: str | None = None,
        missing: Missing | None = None,
    ) -> None:
        self.param_name, self.scope_path = param_name, path_text(scope_path)
        advice = (
            "Pass variables that `init` made with the same code and names, or make "
            '"params" mutable so that it is created.'
        )
        if transform is not None:
            advice = _to_create(transform, "params")
        super().__init__(
            f'No parameter "{param_name}" in scope "{self.scope_path}".'
            f"{name_hint(param_name, available)}{_branch_hint('params', missing)} "
            f"{advice}"
        )


class ScopeCollectionNotFound(FlaxError):
    """A variable was read from a collection that is empty here.

    Args:
      col_name: the collection.
      var_name: the variable.
      scope_path: path of the scope.
      available: the collections that were given, for the message.
      transform: the lifted transform that does not let the collection in, if it is
        there outside.
      maker: the lifted transform that does not let new variables out, if they could
        be made outside of it.

    >>> print(ScopeCollectionNotFound('params', 'kernel', '/Dense_0'))
    Scope "/Dense_0" has no collection "params", from which "kernel" is read. ...
    """

    def __init__(
        self,
        col_name: str,
        var_name: str,
        scope_path: ScopePath,
        *,
        available: Iterable[object] = (),
        transform: str | None = None,
        maker: str | None = None,
    ) -> None:
        self.col_name, self.var_name = col_name, var_name
        self.scope_path = path_text(scope_path)
        start = (
            f'Scope "{self.scope_path}" has no collection "{col_name}", from which '
            f'"{var_name}" is read.'
        )
        if transform is not None:
            super().__init__(
                f"{start} The {transform} around it does not let it in. Give the "
                f"{transform} {passing_on(transform, 'variables', col_name)}."
            )
            return
        if maker is not None:
            super().__init__(f"{start} {_to_create(maker, col_name)}")
            return
        hint = name_hint(col_name, available, owner="What was passed")
        super().__init__(
            f"{start}{hint} Pass the collection to `apply` by name, "
            f"apply({{'{col_name}': ...}}, ...), or list it in `mutable` so that its "
            "variables are initialized."
        )


class ScopeParamShapeError(FlaxError):
    """A stored parameter has another shape than its initializer would give it.

    Args:
      param_name: the parameter's name.
      scope_path: path of its scope.
      value_shape: shape of the stored value.
      init_shape: shape that the initializer gives.

    >>> print(ScopeParamShapeError('kernel', '/Dense_0', (1, 8), (5, 8)))
    Parameter "kernel" in scope "/Dense_0" has shape (1, 8), but its initializer ...
    """

    def __init__(
        self,
        param_name: str,
        scope_path: ScopePath,
        value_shape: Shape,
        init_shape: Shape,
    ) -> None:
        self.param_name, self.scope_path = param_name, path_text(scope_path)
        self.value_shape, self.init_shape = value_shape, init_shape
        super().__init__(
            f'Parameter "{param_name}" in scope "{self.scope_path}" has shape '
            f"{value_shape}, but its initializer gives shape {init_shape}. The module "
            "was initialized with inputs of another shape, or configured otherwise: "
            "use the same inputs and fields, or initialize it again."
        )


class ScopeVariableNotFoundError(FlaxError):
    """A variable was read that is not there, in a collection that is not mutable.

    Args:
      name: the variable.
      col: its collection.
      scope_path: path of the scope.
      available: the variables that the scope has in the collection.
      transform: the lifted transform that does not let new ones out, if they could be
        created outside of it.
      missing: as for `ScopeParamNotFoundError`.

    >>> print(ScopeVariableNotFoundError('mean', 'batch_stats', '/norm'))
    No variable "mean" in collection "batch_stats" of scope "/norm". ...
    """

    def __init__(
        self,
        name: str,
        col: str,
        scope_path: ScopePath,
        *,
        available: Iterable[object] = (),
        transform: str | None = None,
        missing: Missing | None = None,
    ) -> None:
        self.name, self.col, self.scope_path = name, col, path_text(scope_path)
        advice = (
            f"To create it, make the collection mutable: apply(..., mutable=['{col}'])."
        )
        if transform is not None:
            advice = _to_create(transform, col)
        super().__init__(
            f'No variable "{name}" in collection "{col}" of scope '
            f'"{self.scope_path}".{name_hint(name, available)}'
            f"{_branch_hint(col, missing)} {advice}"
        )


class InvalidFilterError(FlaxError, TypeError, ValueError):
    """A collection or key filter is of a type that filters cannot have.

    Args:
      filter_like: what was given.

    >>> print(InvalidFilterError(3))
    3 (of type int) is no filter. A filter is True, False, a name, ...
    """

    def __init__(self, filter_like: object) -> None:
        super().__init__(
            f"{short_repr(filter_like)} (of type {type(filter_like).__name__}) is no "
            "filter. A filter is True, False, a name, a container of names, or "
            "DenyList(filter). Names are strings."
        )


class InvalidScopeError(FlaxError):
    """A scope was used after the call or `with` block that it belongs to.

    Args:
      scope_name: the scope's name or path.

    >>> print(InvalidScopeError('/encoder'))
    Scope "/encoder" is closed: it is valid only until the `init` or `apply` ...
    """

    def __init__(self, scope_name: object) -> None:
        self.scope_name = None if scope_name is None else str(scope_name)
        super().__init__(
            f'Scope "{scope_name}" is closed: it is valid only until the `init` or '
            "`apply` call, or the `with scope.temporary()` block, that made it ends. "
            "Return arrays instead of bound modules, scopes or variables, and use "
            "`bind` for a module that outlives a call."
        )


class ModifyScopeVariableError(FlaxError):
    """A variable was written in a collection that is not mutable.

    Args:
      col: the collection.
      variable_name: the variable.
      scope_path: path of the scope.
      transform: the lifted transform that does not let changes out, if the collection
        is mutable outside of it.

    >>> print(ModifyScopeVariableError('batch_stats', 'mean', '/norm'))
    Cannot write variable "mean" of scope "/norm": collection "batch_stats" is not ...
    """

    def __init__(
        self,
        col: str,
        variable_name: str,
        scope_path: ScopePath,
        *,
        transform: str | None = None,
    ) -> None:
        self.col, self.variable_name = col, variable_name
        self.scope_path = path_text(scope_path)
        problem = (
            f'collection "{col}" is not mutable. List it when calling: '
            f"apply(..., mutable=['{col}']); the new values come back as the second "
            "result."
        )
        if transform is not None:
            problem = (
                f'the {transform} around it does not let changes of collection "{col}" '
                f"out, which is mutable outside. Give the {transform} "
                f"{passing_on(transform, 'variables', col)}."
            )
        super().__init__(
            f'Cannot write variable "{variable_name}" of scope "{self.scope_path}": '
            f"{problem}"
        )


class ImmutableVariableError(FlaxError):
    """A variable object that is read-only was written.

    A name of Flax's, for programs that catch it: nothing in Batiste raises it.

    Args:
      message: the whole text.

    >>> print(ImmutableVariableError('variable "mean" is read-only.'))
    variable "mean" is read-only.
    """


class JaxTransformError(FlaxError):
    """A scope or module was used across the border of a plain JAX transform.

    Args:
      scope_path: path of the scope that was used, where known.
      closed_over: whether a lifted function used it that should have used its like
        within the transform.

    >>> print(JaxTransformError(scope_path='/encoder'))
    JAX transforms and modules cannot be mixed: scope "/encoder" was made at ...
    >>> print(JaxTransformError(scope_path='/encoder', closed_over=True))
    ... # doctest: +ELLIPSIS
    In a lifted transform the function uses `encoder` of the enclosing module; use ...
    """

    def __init__(
        self, *, scope_path: ScopePath | None = None, closed_over: bool = False
    ) -> None:
        self.scope_path = None if scope_path is None else path_text(scope_path)
        if closed_over:
            name = (self.scope_path or "").rpartition("/")[2]
            what = (
                f"`{name}` of the enclosing module" if name else "the enclosing module"
            )
            where = "" if self.scope_path is None else f' (scope "{self.scope_path}")'
            super().__init__(
                f"In a lifted transform the function uses {what}; use the module that "
                f"it gets as its first argument{where}: only that has the variables as "
                "they are within the transform, and a value would leak out of the "
                "other. Pass further modules as arguments."
            )
            return
        who = "a scope" if self.scope_path is None else f'scope "{self.scope_path}"'
        super().__init__(
            f"JAX transforms and modules cannot be mixed: {who} was made at another "
            "trace level than the one it is used at, so a value would leak out of "
            "the transform. Inside a module use the lifted transform in place of "
            "JAX's (nn.jit for jax.jit, nn.vmap, nn.scan, nn.remat, nn.grad, ...), or "
            "apply the JAX transform outside, around `module.apply`."
        )


class AxisMetadataError(FlaxError):
    """What a box (`AxisMetadata`) says on the axes of a variable does not fit.

    Scopes and lifted transforms put the variable's path into it.

    Args:
      problem: the message without the path.

    >>> print(AxisMetadataError('Bad names.').at('params/Dense_0/kernel').path)
    params/Dense_0/kernel
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.path: str | None = None
        super().__init__(problem)

    def at(self, path: str) -> Self:
        """Returns the same error, with the variable's path in its message.

        Args:
          path: the collection and the names, as in `'params/Dense_0/kernel'`.

        Returns:
          A new error of the same type. An error that has a path already is returned
          as it is, because the inner path is the exact one.

        >>> print(AxisMetadataError('Bad names.').at('params/kernel'))
        In "params/kernel": Bad names.
        """
        if self.path is not None:
            return self
        error = copy.copy(self)
        error.path = path
        error.args = (f'In "{path}": {self.problem}',)
        return error


class PartitioningUnspecifiedError(AxisMetadataError):
    """A lifted transform gives a partitioned variable an axis that has no name.

    Args:
      target: the partitioned value, or its names.

    >>> print(PartitioningUnspecifiedError('kernel'))
    A transform adds or removes an axis of the partitioned value 'kernel', but its ...
    """

    def __init__(self, target: object) -> None:
        super().__init__(
            "A transform adds or removes an axis of the partitioned value "
            f"{short_repr(target)}, but its mesh axis is not named. Pass "
            "metadata_params={'partition_name': 'layers'} to the transform (None as "
            "the name leaves the new axis unsharded)."
        )

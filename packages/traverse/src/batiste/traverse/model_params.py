"""The traversal of model parameters by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .containers import replace_entries
from .errors import NotTraversableError, PathKeyError, type_name
from .traversal import SplitTraversal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from .traversal import Split

    # Where a mapping is: its holder and the key there (None for the root); the mapping,
    # a dict of what is in it, and whether the holder's type converts it.
    Node: TypeAlias = tuple[
        dict[str, Any] | None, str | None, Mapping[str, Any], dict[str, Any], bool
    ]
    # The name of a parameter, and where it is: its holder and the key there.
    Parameter: TypeAlias = tuple[str, dict[str, Any], str]

__all__ = [
    "ModelParamTraversal",
]


class ModelParamTraversal(SplitTraversal):
    """Selects parameters in a nested dictionary by their names.

    The name of a parameter is the path to it, as in `'/module/sub_module/kernel'`.
    Every mapping is gone into; everything else is a parameter. They are visited in the
    order of their sorted paths, which is JAX's order. Mappings keep their types and
    the order of their keys.

    Args:
      filter_fn: `filter_fn(name, value)` is true of the parameters to select.

    Raises:
      NotTraversableError: when used on anything but a mapping, or on a mapping that
        contains itself.
      PathKeyError: when used on a mapping with a key that is not a string.

    >>> from batiste.traverse import ModelParamTraversal
    >>> params = {'dense': {'kernel': 2, 'bias': 1}, 'scale': 3}
    >>> kernels = ModelParamTraversal(lambda name, value: name.endswith('/kernel'))
    >>> list(kernels.iterate(params))
    [2]
    >>> kernels.update(lambda x: 10 * x, params)
    {'dense': {'kernel': 20, 'bias': 1}, 'scale': 3}
    """

    def __init__(self, filter_fn: Callable[[str, Any], Any]) -> None:
        self.__filter_fn = filter_fn

    def __traversal_split__(self, inputs: Any) -> Split:
        nodes, parameters = _outline(inputs)
        selected = [
            (holder, key)
            for name, holder, key in parameters
            if self.__filter_fn(name, holder[key])
        ]
        values = [holder[key] for holder, key in selected]

        def rebuild(new: list[Any]) -> Any:
            for (holder, key), value in zip(selected, new, strict=True):
                holder[key] = value
            return _retype(nodes)

        return values, rebuild

    def __traversal_suffix__(self) -> str:
        fn = getattr(self.__filter_fn, "__qualname__", self.__filter_fn)
        return f".compose(ModelParamTraversal({fn}))"


def _sorted_keys(node: Mapping[Any, Any], path: list[str]) -> Iterator[str]:
    for key in node:
        if not isinstance(key, str):
            raise PathKeyError(
                "ModelParamTraversal needs keys that are strings, but the mapping at "
                f"'/{'/'.join(path)}' has the key {key!r} ({type_name(key)})."
            )
    return iter(sorted(node))


def _outline(inputs: Any) -> tuple[list[Node], list[Parameter]]:
    """A copy of nested mappings as dicts, with what it takes to fill and retype it.

    Returns:
      The dicts, from outer to inner, and the parameters.
    """
    if not isinstance(inputs, Mapping):
        raise NotTraversableError(
            "ModelParamTraversal needs a nested dictionary of parameters, but got a "
            f"value of type {type_name(inputs)}."
        )
    root = dict(inputs)
    nodes: list[Node] = [(None, None, inputs, root, False)]
    parameters: list[Parameter] = []
    path: list[str] = []
    open_nodes = [(inputs, root, _sorted_keys(inputs, path))]
    open_ids = {id(inputs)}
    while open_nodes:
        node, holder, keys = open_nodes[-1]
        for key in keys:
            path.append(key)
            value = holder[key]
            if isinstance(value, Mapping):
                if id(value) in open_ids:
                    raise NotTraversableError(
                        f"ModelParamTraversal: the {type_name(value)} at "
                        f"'/{'/'.join(path)}' contains itself."
                    )
                inner = dict(value)
                # A frozen mapping freezes the dicts in it. Were it made at each level,
                # every level would copy all that is below.
                converted = type(value) is type(node) and hasattr(value, "unfreeze")
                nodes.append((holder, key, value, inner, converted))
                open_ids.add(id(value))
                open_nodes.append((value, inner, _sorted_keys(value, path)))
                break
            parameters.append(("/" + "/".join(path), holder, key))
            path.pop()
        else:
            open_nodes.pop()
            open_ids.remove(id(node))
            if path:
                path.pop()
    return nodes, parameters


def _retype(nodes: list[Node]) -> Any:
    """Gives the filled dicts the types of the mappings they stand for."""
    new: Any = None
    for holder, key, mapping, filled, converted in reversed(nodes):
        new = filled if converted else replace_entries(mapping, filled)
        if holder is not None and key is not None:
            holder[key] = new
    return new

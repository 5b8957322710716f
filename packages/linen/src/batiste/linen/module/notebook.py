"""Modules in notebooks: their configuration, and what they are bound to."""

from __future__ import annotations

import dataclasses
from typing import Any

from batiste.core.notebook import dim, escaped, folded, page, tree

from .state import ModuleBase

__all__ = ["module_html"]


def module_html(module: ModuleBase) -> str | None:
    """A module as HTML: its attributes, its bound submodules, and its variables.

    Nothing is run or computed for it, `setup` neither.

    Args:
      module: a module, bound or not.

    Returns:
      The HTML, or None if that fails: notebooks then show the module as text.

    >>> import batiste.linen as nn
    >>> "rate: 0.5" in module_html(nn.Dropout(0.5))
    True
    """

    def make() -> str:
        parts = _parts(module, [])
        if module.scope is not None and not module.scope.invalid:
            variables = dict(module.scope.variables())
            if variables:
                parts.append(tree("variables", variables))
        return folded(_summary("", module), parts, shown=True)

    return page(make)


def _summary(name: str, module: ModuleBase) -> str:
    kind = f"<b>{escaped(type(module).__name__)}</b>"
    return f"{escaped(name)}: {kind}" if name else kind


def _parts(module: ModuleBase, outer: list[ModuleBase]) -> list[str]:
    """The attributes and the children, in HTML."""
    outer = [*outer, module]

    def special(name: str, value: Any) -> str | None:
        if not isinstance(value, ModuleBase):
            return None
        if any(value is other for other in outer):  # it would have no end
            return f"<div>{_summary(name, value)} {dim('(see above)')}</div>"
        return folded(_summary(name, value), _parts(value, outer))

    attributes = vars(module)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(module)  # type: ignore[arg-type]
    parts = []
    if attributes.get("name") is not None and len(outer) == 1:
        parts.append(tree("name", attributes["name"]))
    parts += [
        tree(field.name, attributes[field.name], special)
        for field in fields
        if field.name not in ("parent", "name")
        and field.repr
        and field.init
        and field.name in attributes
    ]
    # It may be asked for in the middle of construction.
    state = attributes.get("_state")
    if state is not None:
        given = {field.name for field in fields}
        parts += [
            tree(name, child, special)
            for name, child in state.children.items()
            if name not in given
        ]
    return parts

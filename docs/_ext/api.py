"""The directive `api`: the documentation of the public names that its lines give.

    ```{api} batiste.linen
    Dense
    DenseGeneral
    ```

Each is shown as what it is: a class with its documented methods, a function, an
exception or a value, after a table of them all. What comes from JAX under a name of
ours is named, and linked, and not documented again. `tests/test_docs_pages.py` compares
what the pages' directives give with what is public.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import types
from collections.abc import Callable
from typing import Any

from docstrings import mark_code
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["Api", "setup"]


_SHORT = {"batiste.linen": "nn", "batiste.linen.initializers": "nn.initializers"}


class Api(SphinxDirective):
    """Writes the autodoc directives for names of one module."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Returns the documentation of each name."""
        name = self.arguments[0]
        module = importlib.import_module(name)
        wanted = [word for line in self.content for word in line.split()]
        lines = [f".. currentmodule:: {name}", ""]
        if len(wanted) > 2:
            lines += _table(name, module, wanted)
        for public in wanted:
            if name in _SHORT:
                # The search finds it by the name that programs call it by.
                short = f"{_SHORT[name]}.{public}"
                lines += [f".. index:: ! {short}", f"   :name: {short}", ""]
            lines += _lines(name, public, getattr(module, public))
        wrapped = StringList(["```{eval-rst}", *lines, "```"], source=f"{name} (api)")
        found = nodes.container()
        self.state.nested_parse(wrapped, self.content_offset, found)
        return found.children


def _table(module: str, holder: types.ModuleType, names: list[str]) -> list[str]:
    lines = [".. list-table::", "   :class: api-table", "   :widths: 1 2", ""]
    for name in names:
        lines.append(f"   * - :py:obj:`{name} <{module}.{name}>`")
        lines.append(f"     - {_first_sentence(getattr(holder, name))}")
    return [*lines, ""]


def _first_sentence(value: Any) -> str:
    if not (isinstance(value, type) or _is_function(value)):
        return "\\ "
    paragraph = (inspect.getdoc(value) or "").strip().split("\n\n")[0]
    text = " ".join(paragraph.split())
    text = re.split(r"(?<=[.])\s+(?=[A-Z`])", text)[0].rstrip(":")
    # A label would be there twice.
    return mark_code(text if _is_ours(value) else _plain(text)) or "\\ "


def _plain(text: str) -> str:
    """Returns a sentence of another project's docstring without its markup."""
    text = re.sub(r":[\w:]+:`~?([^`<]+?)(?:\s*<[^>]*>)?`", r"\1", text)
    return re.sub(r"([*_|\\])", r"\\\1", text.replace("`", ""))


def _lines(module: str, name: str, value: Any) -> list[str]:
    full = f"{module}.{name}"
    if _is_function(value) and not _is_ours(value):
        return _from_elsewhere(full, value)
    if isinstance(value, type) and issubclass(value, BaseException):
        return [f".. autoexception:: {full}", "   :show-inheritance:", ""]
    if isinstance(value, type):
        options = ["   :members:", "   :show-inheritance:"]
        if _documents_call(value):
            options.append("   :special-members: __call__")
        if dataclasses.is_dataclass(value):
            # They are in the list of attributes.
            fields = ", ".join(field.name for field in dataclasses.fields(value))
            options += [f"   :exclude-members: {fields}"] if fields else []
        return [f".. autoclass:: {full}", *options, ""]
    if _is_function(value):
        return [f".. autofunction:: {full}", ""]
    return [f".. autodata:: {full}", "   :no-value:", ""]


def _is_function(value: Any) -> bool:
    return (
        isinstance(value, Callable)
        and not isinstance(  # type: ignore[arg-type]
            value, types.GenericAlias
        )
        and hasattr(value, "__name__")
        and not hasattr(value, "__origin__")
    )


def _is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "batiste")).startswith("batiste")


def _from_elsewhere(full: str, value: Any) -> list[str]:
    """Returns the entry of a function of JAX, for which JAX has the documentation."""
    name = full.rsplit(".", 1)[1]
    home = next((h for h in _homes() if getattr(h[1], name, None) is value), None)
    theirs = f"{home[0]}.{name}" if home else f"{value.__module__}.{value.__name__}"
    return [
        f".. py:function:: {full}{_signature(value)}",
        "",
        f"   {_first_sentence(value)}",
        "",
        f"   This is JAX's :py:obj:`{theirs}`.",
        "",
    ]


def _homes() -> list[tuple[str, types.ModuleType]]:
    names = ("jax.nn", "jax.nn.initializers", "jax.numpy", "jax.scipy.special", "jax")
    return [(name, importlib.import_module(name)) for name in names]


def _signature(value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    shown = str(signature.replace(parameters=bare, return_annotation=signature.empty))
    # The default of a dtype is a class.
    return re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", shown)


def _documents_call(cls: type) -> bool:
    return bool(getattr(cls.__dict__.get("__call__"), "__doc__", None))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The directive `api`: the documentation of the public names that its lines give.

    ```{api} batiste.linen
    Dense
    DenseGeneral
    ```

Each is shown as what it is: a class with its documented methods, a function, an
exception or a value. `:all:` stands for the module's whole `__all__`.
"""

from __future__ import annotations

import importlib
import inspect
import types
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

__all__ = ["Api", "setup"]


class Api(SphinxDirective):
    """Writes the autodoc directives for names of one module."""

    required_arguments = 1
    has_content = True
    option_spec = {"all": directives.flag, "except": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Returns the documentation of each name."""
        name = self.arguments[0]
        module = importlib.import_module(name)
        wanted = [word for line in self.content for word in line.split()]
        if "all" in self.options:
            left_out = self.options.get("except", "").split()
            wanted = [n for n in module.__all__ if n not in left_out]
            wanted = [n for n in wanted if not inspect.ismodule(getattr(module, n))]
        lines = [f".. currentmodule:: {name}", ""]
        for public in wanted:
            lines += _lines(name, public, getattr(module, public))
        source = StringList(lines, source=f"{name} (api)")
        return self.parse_content_as_rst(source)

    def parse_content_as_rst(self, source: StringList) -> list[nodes.Node]:
        """Parses lines of reStructuredText, also where the page is Markdown."""
        found = nodes.container()
        rst = "\n".join(source)
        wrapped = StringList(["```{eval-rst}", *rst.split("\n"), "```"], source="api")
        self.state.nested_parse(wrapped, self.content_offset, found)
        return found.children


def _lines(module: str, name: str, value: Any) -> list[str]:
    full = f"{module}.{name}"
    if isinstance(value, type) and issubclass(value, BaseException):
        return [f".. autoexception:: {full}", "   :show-inheritance:", ""]
    if isinstance(value, type):
        options = ["   :members:", "   :show-inheritance:"]
        if _documents_call(value):
            options.append("   :special-members: __call__")
        return [f".. autoclass:: {full}", *options, ""]
    if callable(value) and not isinstance(value, types.GenericAlias):
        return [f".. autofunction:: {full}", ""]
    return [f".. autodata:: {full}", "   :no-value:", ""]


def _documents_call(cls: type) -> bool:
    return bool(getattr(cls.__dict__.get("__call__"), "__doc__", None))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Signatures as they are written in the source, not as Python evaluates them.

An annotation stays `Initializer | None`, and does not become what that stands for; a
default that is a function or a class is shown by its name. A class shows its fields
without types, because the list below has them; that a module has a name and a parent is
said once, at `Module`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain

__all__ = ["setup"]

# What every module has.
_OF_MODULES = ("parent", "name")
_FIELDS = re.compile(r"^(\s*)(\w+)(:\s.*)$")


def _shown(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, args: str, returns: str
) -> tuple[str, str | None] | None:
    is_class = isinstance(obj, type)
    if is_class and issubclass(obj, BaseException):
        return None
    try:
        signature = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    known = vars(module) if module else {}
    parameters = list(signature.parameters.values())
    if what in ("method",) and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    fields = is_class and dataclasses.is_dataclass(obj)
    if fields and name.rpartition(".")[2] != "Module":
        parameters = [p for p in parameters if p.name not in _OF_MODULES]
    text = _listed(parameters, known, types=not fields)
    result = signature.return_annotation
    if is_class or result is inspect.Signature.empty:
        return text, None
    return text, _annotation(result)


def _listed(
    parameters: list[inspect.Parameter], known: Mapping[str, Any], *, types: bool
) -> str:
    parts: list[str] = []
    last = None
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and last not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            parts.append("*")
        if last is p.POSITIONAL_ONLY and p.kind is not last:
            parts.append("/")
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        typed = types and p.annotation is not p.empty
        part = f"{stars}{p.name}" + (f": {_annotation(p.annotation)}" if typed else "")
        if p.default is not p.empty:
            equals = " = " if typed else "="
            part += f"{equals}{_default(p.default, known)}"
        parts.append(part)
        last = p.kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    return f"({', '.join(parts)})"


def _annotation(value: Any) -> str:
    if isinstance(value, str):
        return value.strip("'\"")
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", inspect.formatannotation(value))


def _default(value: Any, known: Mapping[str, Any]) -> str:
    if isinstance(value, type) or callable(value):
        named = [n for n, v in known.items() if v is value and not n.startswith("_")]
        shown = named[0] if named else getattr(value, "__name__", "")
        for initializer in ("zeros", "ones"):
            if value is getattr(sys.modules["jax.nn.initializers"], initializer):
                shown = initializer
        return shown if shown.isidentifier() and shown != "init" else "..."
    text = repr(value)
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return "..."
    return text


def _add_types(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Writes the types of fields, as they are in the source, into their list."""
    if not isinstance(obj, type):
        return
    annotations: dict[str, Any] = {}
    for base in reversed(obj.__mro__):
        annotations |= vars(base).get("__annotations__", {})
    within = False
    for at, line in enumerate(lines):
        if not line.startswith(" "):
            within = line.strip() == "Attributes:" or (within and not line)
        elif within and (match := _FIELDS.match(line)):
            indent, field, rest = match.groups()
            if field in annotations and len(indent) == _indent(lines):
                typed = _annotation(annotations[field])
                lines[at] = f"{indent}{field} ({typed}){rest}"


def _indent(lines: list[str]) -> int:
    after = lines[lines.index("Attributes:") + 1]
    return len(after) - len(after.lstrip())


def setup(app: Sphinx) -> dict[str, Any]:
    """Answers autodoc when it asks what a signature should be."""
    described: Any = PythonDomain.directives["class"]
    for kind in described.doc_field_types:
        if kind.name == "variable":
            kind.label = "Fields"
    app.connect("autodoc-process-signature", _shown)
    app.connect("autodoc-process-docstring", _add_types, priority=50)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Where a reference leads that names an object by another name than its page does.

Annotations and base classes name the file in which a thing is written
(`batiste.linen.module.module.Module`), facades have the same thing under several names,
and a docstring says `Module` or `nn.scan`. All of them become links to the one place
where the thing is documented. What exists and is documented nowhere, as an internal
base class, stays text. What does not exist is left to Sphinx, which complains.
"""

from __future__ import annotations

import builtins
import importlib
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import NoUri
from sphinx.util.nodes import make_refnode

__all__ = ["setup"]

# As programs of the pages import them.
_SHORT = {
    "nn": "batiste.linen",
    "flax": "batiste",
    "lift": "batiste.core.lift",
    "struct": "batiste.core.struct",
    "config": "batiste.core.config",
    "serialization": "batiste.serialization",
    "traverse_util": "batiste.traverse",
    "checkpoints": "batiste.training.checkpoints",
    "spmd": "batiste.spmd",
    "core": "batiste.core",
}


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.Element | None:
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip("~.").removesuffix("()")
    first, _, rest = target.partition(".")
    if rest and first in _SHORT:
        target = f"{_SHORT[first]}.{rest}"
    name = _documented(env, target, node["reftype"])
    if name is not None:
        entry = env.domains.python_domain.objects[name]
        return make_refnode(
            app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name
        )
    if _find(target) is not None or hasattr(builtins, target):
        raise NoUri  # It is there, and has no page.
    return None


def _documented(env: BuildEnvironment, target: str, role: str) -> str | None:
    """Returns the name by which a page documents what `target` names, or None."""
    objects = env.domains.python_domain.objects
    if target in objects:
        return target
    if "." not in target:
        # A single word may be any word; of a class, an error or a function that is
        # called so, there is one.
        told = role in ("class", "exc", "func", "meth") or target[:1].isupper()
        named = [n for n in objects if n.endswith(f".{target}")] if told else []
        top = [n for n in named if not _is_member(objects, n)]
        return min(top, key=len) if top else None
    if not target.startswith("batiste."):
        return None
    holder, _, member = target.rpartition(".")
    found = _find(target)
    if found is None:
        return None
    last = [n for n in objects if n.endswith(f".{member}")]
    for name in last:
        if _find(name) is found:
            return name
    # A method of a class that is documented under another name.
    owner = _documented(env, holder, "class") if holder.count(".") > 1 else None
    name = f"{owner}.{member}"
    return name if name in objects else None


def _is_member(objects: dict[str, Any], name: str) -> bool:
    return name.rpartition(".")[0] in objects


def _find(name: str) -> Any:
    """Returns what a dotted name stands for, None if there is no such thing."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except (ImportError, ValueError):
            continue
        try:
            for part in parts[cut:]:
                found = getattr(found, part)
        except AttributeError:
            return None
        return found
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Answers before intersphinx is asked, and after our own pages."""
    app.connect("missing-reference", _resolve, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

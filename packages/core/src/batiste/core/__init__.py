"""The functional core: scopes, variables, keys, and what the other packages share.

Lifting, lazy initialization and the functional layers are imported when they are
first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import config, errors, frozen_dict, meta, scope, struct, traceback_util, tracers
from .frozen_dict import FrozenDict, copy, freeze, pop, pretty_repr, unfreeze
from .meta import (
    AxisMetadata,
    add_axis,
    map_axis_meta,
    remove_axis,
    replace_boxed,
    unbox,
)
from .scope.filters import DenyList
from .scope.functions import apply, bind, init, lazy_init
from .scope.scope import Scope
from .scope.variables import Variable
from .tracers import check_trace_level, current_trace

if TYPE_CHECKING:
    from . import axes_scan, lift, nn, partial_eval
    from .axes_scan import broadcast

__all__ = [
    "AxisMetadata",
    "DenyList",
    "FrozenDict",
    "Scope",
    "Variable",
    "add_axis",
    "apply",
    "axes_scan",
    "bind",
    "broadcast",
    "check_trace_level",
    "config",
    "copy",
    "current_trace",
    "errors",
    "freeze",
    "frozen_dict",
    "init",
    "lazy_init",
    "lift",
    "map_axis_meta",
    "meta",
    "nn",
    "partial_eval",
    "pop",
    "pretty_repr",
    "remove_axis",
    "replace_boxed",
    "scope",
    "struct",
    "traceback_util",
    "tracers",
    "unbox",
    "unfreeze",
]


_LATER = ("axes_scan", "lift", "nn", "partial_eval")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f".{name}", __name__)
    if name == "broadcast":
        return importlib.import_module(".axes_scan", __name__).broadcast
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, "broadcast"})

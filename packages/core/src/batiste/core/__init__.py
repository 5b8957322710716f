"""The functional core: scopes, variables, keys, and what the other packages share.

Lifting, lazy initialization and the functional layers are imported when they are
first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import config as config
from . import errors as errors
from . import frozen_dict as frozen_dict
from . import meta as meta
from . import scope as scope
from . import struct as struct
from . import traceback_util as traceback_util
from . import tracers as tracers
from .frozen_dict import FrozenDict as FrozenDict
from .frozen_dict import copy as copy
from .frozen_dict import freeze as freeze
from .frozen_dict import pop as pop
from .frozen_dict import pretty_repr as pretty_repr
from .frozen_dict import unfreeze as unfreeze
from .meta import AxisMetadata as AxisMetadata
from .meta import add_axis as add_axis
from .meta import map_axis_meta as map_axis_meta
from .meta import remove_axis as remove_axis
from .meta import replace_boxed as replace_boxed
from .meta import unbox as unbox
from .scope.filters import DenyList as DenyList
from .scope.functions import apply as apply
from .scope.functions import bind as bind
from .scope.functions import init as init
from .scope.functions import lazy_init as lazy_init
from .scope.scope import Scope as Scope
from .scope.variables import Variable as Variable
from .tracers import check_trace_level as check_trace_level
from .tracers import current_trace as current_trace

if TYPE_CHECKING:
    from . import axes_scan as axes_scan
    from . import lift as lift
    from . import nn as nn
    from . import partial_eval as partial_eval
    from .axes_scan import broadcast as broadcast

_LATER = ("axes_scan", "lift", "nn", "partial_eval")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f".{name}", __name__)
    if name == "broadcast":
        return importlib.import_module(".axes_scan", __name__).broadcast
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, "broadcast"})

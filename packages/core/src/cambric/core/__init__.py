"""The functional core: scopes, variables, keys, and what the other packages share."""

from . import config as config
from . import errors as errors
from . import frozen_dict as frozen_dict
from . import meta as meta
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
from .tracers import check_trace_level as check_trace_level
from .tracers import current_trace as current_trace

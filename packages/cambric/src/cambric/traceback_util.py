"""The flat name of :mod:`cambric.core.traceback_util`: shorter tracebacks."""

from cambric.core.traceback_util import *  # noqa: F403

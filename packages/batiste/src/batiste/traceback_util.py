"""The flat name of :mod:`batiste.core.traceback_util`: shorter tracebacks."""

from batiste.core.traceback_util import *  # noqa: F403

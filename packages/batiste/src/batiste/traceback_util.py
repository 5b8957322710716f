"""The flat name of `batiste.core.traceback_util`: shorter tracebacks."""

from batiste.core.traceback_util import *  # noqa: F403

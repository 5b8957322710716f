"""The flat name of :mod:`batiste.core.errors`: every error that Batiste raises."""

from batiste.core.errors import *  # noqa: F403

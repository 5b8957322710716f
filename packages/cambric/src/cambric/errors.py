"""The flat name of :mod:`cambric.core.errors`: every error that Cambric raises."""

from cambric.core.errors import *  # noqa: F403

"""The flat name of :mod:`cambric.core.struct`: pytree dataclasses."""

from cambric.core.struct import *  # noqa: F403

"""The flat name of :mod:`batiste.core.struct`: pytree dataclasses."""

from batiste.core.struct import *  # noqa: F403

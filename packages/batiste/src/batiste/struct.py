"""The flat name of `batiste.core.struct`: pytree dataclasses."""

from batiste.core.struct import *  # noqa: F403

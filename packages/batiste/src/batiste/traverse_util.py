"""The flat name of :mod:`batiste.traverse`: nested dicts and traversals."""

from batiste.traverse import *  # noqa: F403

"""The flat name of :mod:`cambric.traverse`: nested dicts and traversals."""

from cambric.traverse import *  # noqa: F403

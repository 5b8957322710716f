"""The flat name of `batiste.traverse`: nested dicts and traversals."""

from batiste.traverse import *  # noqa: F403

"""Write metrics for TensorBoard.

The files are what TensorFlow's own writer makes, and TensorFlow is not needed: only
the package `tensorboard`, which the extra of this name installs.
"""

from .writer import SummaryWriter

__all__ = [
    "SummaryWriter",
]

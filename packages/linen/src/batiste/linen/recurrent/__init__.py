"""Recurrent layers: cells that do one step, and layers that run them along time."""

from .cell import RNNCellBase
from .cells import (
    DenseParams,
    GRUCell,
    LSTMCell,
    MGUCell,
    OptimizedLSTMCell,
    SimpleCell,
)
from .conv_lstm import ConvLSTMCell
from .rnn import RNN, Bidirectional, RNNBase, flip_sequences

__all__ = [
    "RNN",
    "Bidirectional",
    "ConvLSTMCell",
    "DenseParams",
    "GRUCell",
    "LSTMCell",
    "MGUCell",
    "OptimizedLSTMCell",
    "RNNBase",
    "RNNCellBase",
    "SimpleCell",
    "flip_sequences",
]

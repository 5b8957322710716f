"""Recurrent layers: cells that do one step, and layers that run them along time."""

from .conv_lstm import ConvLSTMCell as ConvLSTMCell
from .rnn import RNN as RNN
from .rnn import Bidirectional as Bidirectional
from .rnn import RNNBase as RNNBase
from .rnn import flip_sequences as flip_sequences
from .rnn_cell_base import RNNCellBase as RNNCellBase
from .rnn_cells import DenseParams as DenseParams
from .rnn_cells import GRUCell as GRUCell
from .rnn_cells import LSTMCell as LSTMCell
from .rnn_cells import MGUCell as MGUCell
from .rnn_cells import OptimizedLSTMCell as OptimizedLSTMCell
from .rnn_cells import SimpleCell as SimpleCell

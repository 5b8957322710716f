"""Recurrent layers: cells that do one step, and layers that run them along time."""

from .cell import RNNCellBase as RNNCellBase
from .cells import DenseParams as DenseParams
from .cells import GRUCell as GRUCell
from .cells import LSTMCell as LSTMCell
from .cells import MGUCell as MGUCell
from .cells import OptimizedLSTMCell as OptimizedLSTMCell
from .cells import SimpleCell as SimpleCell
from .conv_lstm import ConvLSTMCell as ConvLSTMCell
from .rnn import RNN as RNN
from .rnn import Bidirectional as Bidirectional
from .rnn import RNNBase as RNNBase
from .rnn import flip_sequences as flip_sequences

"""What a training loop needs around a model: state, checkpoints, schedules, devices.

>>> from cambric.training import checkpoints, train_state
>>> train_state.TrainState.__name__
'TrainState'
"""

from . import checkpoints as checkpoints
from . import common_utils as common_utils
from . import dynamic_scale as dynamic_scale
from . import early_stopping as early_stopping
from . import io as io
from . import jax_utils as jax_utils
from . import lr_schedule as lr_schedule
from . import orbax_utils as orbax_utils
from . import prefetch_iterator as prefetch_iterator
from . import train_state as train_state

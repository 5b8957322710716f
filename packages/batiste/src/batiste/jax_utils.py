"""The flat name of :mod:`batiste.training.jax_utils`: replication and prefetching."""

from batiste.training.jax_utils import pad_shard_unpad as pad_shard_unpad
from batiste.training.jax_utils import partial_eval_by_shape as partial_eval_by_shape
from batiste.training.jax_utils import pmean as pmean
from batiste.training.jax_utils import prefetch_to_device as prefetch_to_device
from batiste.training.jax_utils import replicate as replicate
from batiste.training.jax_utils import scan_in_dim as scan_in_dim
from batiste.training.jax_utils import unreplicate as unreplicate

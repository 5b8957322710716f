"""Variables of Linen models from the weights of PyTorch models, and back.

>>> import numpy as np, batiste.linen as nn
>>> from batiste.training.torch_weights import from_torch
>>> state_dict = {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
>>> variables, report = from_torch(nn.Dense(2), state_dict, np.ones((1, 3)))
>>> variables["params"]["kernel"].shape
(3, 2)
"""

from .convert import from_torch, to_torch
from .report import Pair, TorchReport

__all__ = ["Pair", "TorchReport", "from_torch", "to_torch"]

"""Taking a model out: one file with its program and its variables.

`save` exports what `jax.jit(model.apply)` computes; `load` runs it, in a program that
knows nothing of the model. The file is one for all: a zip archive, which NumPy opens,
with the program of `jax.export`, the weights beside it and a description. The weights
are arguments of the program and no constants within, so that the compiler does with
them what it does under `jax.jit`, to the bit, other programs can read and replace them,
and their size has no bound.

Without Batiste, JAX and NumPy are enough:

    import numpy as np
    from jax import export

    file = np.load("model.zip")
    program = export.deserialize(bytearray(file["program"]))
    stored = [file[name] for name in file.files if name.startswith("weights/")]
    weights = [w.view(a.dtype) for w, a in zip(stored, program.in_avals)]
    y = program.call(weights, x)

`to_saved_model` and `to_onnx` write what other systems read, with libraries that are
imported when they are called.
"""

from .load import ExportedModel, load
from .onnx_file import to_onnx
from .save import save
from .saved_model import to_saved_model

__all__ = ["ExportedModel", "load", "save", "to_onnx", "to_saved_model"]

"""Names that flax keeps to itself, and that published programs use all the same.

Quantizers look at the stack of running modules, metric writers at the registry of
state dicts, and copies of layers at the helpers beside the layers. Each file answers
for those of one module of flax, by what Batiste does. Nothing of Batiste needs them.
"""

__all__: list[str] = []

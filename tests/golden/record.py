"""Records parameters and outputs of every layer of the released flax.

Run it where that is installed, on the CPU, to add cases:

    JAX_PLATFORMS=cpu python tests/golden/record.py

Files that exist are kept, as what is once recorded is to hold for ever; name the
families that are to be recorded anew, if their cases were changed.
"""

import importlib
import sys
from typing import Any

import golden_cases
import jax

flax: Any = importlib.import_module("flax")
serialization: Any = importlib.import_module("flax.serialization")
nn: Any = importlib.import_module("flax.linen")


def record(family: str) -> None:
    cases = golden_cases.FAMILIES[family]
    contents = {
        "jax": jax.__version__,
        "flax": flax.__version__,
        "probe": golden_cases.probe(),
        "cases": {name: golden_cases.run(cases[name], nn, family) for name in cases},
    }
    for case in contents["cases"].values():
        case["layers"] = " ".join(case["layers"])
    data = serialization.msgpack_serialize(contents)
    path = golden_cases.FOLDER / f"{family}.msgpack"
    path.write_bytes(data)
    print(f"{path.name}: {len(cases)} cases, {len(data):,} bytes", flush=True)


if __name__ == "__main__":
    for family in golden_cases.FAMILIES:
        exists = (golden_cases.FOLDER / f"{family}.msgpack").exists()
        if family in sys.argv[1:] or not (exists or sys.argv[1:]):
            record(family)

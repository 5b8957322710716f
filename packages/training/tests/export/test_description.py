"""What a file says of its program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from batiste.core.config import config
from batiste.training.export import description
from batiste.training.export.program import make_program, trace


class Call:
    pass


def test_all_that_is_needed_to_call_it():
    def call(variables, x, *, mask, train, activation):
        return {"y": x * variables["w"], "none": None}

    x = np.ones((2, 3), np.float32)
    inputs = {"mask": {"m": x[:, 0]}, "train": False, "activation": abs}
    program = make_program(call, {"w": np.float32(1)}, (x,), inputs)
    exported = trace(program, ["cpu", "tpu"])
    found = description.describe(program, exported, "encode", ["a"], 1)
    version, settings = found.pop("versions"), found.pop("config")
    assert found == {
        "format": "batiste.export",
        "format_version": 1,
        "model": "call",
        "method": "encode",
        "positional": {"x": "float32[batch, 3]"},
        "keyword": {"mask": {"m": "float32[batch]"}},
        "fixed": {
            "train": False,
            "activation": {"of": "builtins.abs"},
            "mutable": ["a"],
        },
        "outputs": {"y": "float32[batch, 3]", "none": None},
        "variables": {"w": 0},
        "keys": {},
        "platforms": ["cpu", "tpu"],
        "mesh": None,
        "splits": None,
        "vjp_order": 1,
        "calling_convention_version": exported.calling_convention_version,
    }
    assert version["jax"] == jax.__version__
    assert version["batiste-training"] is not None
    assert settings["jax_enable_x64"] is False
    assert settings["batiste_return_frozendict"] is config.return_frozendict


def test_fixed_values():
    fixed = description.fixed_value
    assert [fixed(v) for v in (True, 1, 2.5, "a", None)] == [True, 1, 2.5, "a", None]
    assert fixed(("a", [1])) == ["a", [1]]
    assert fixed(Call) == {"of": f"{__name__}.Call"}
    assert fixed(Call()) == {"of": f"{__name__}.Call"}
    assert fixed(functools.partial(len)) == {"of": "functools.partial"}


def test_texts_of_arrays():
    assert description.array_text(jnp.zeros((), jnp.bfloat16)) == "bfloat16[]"

"""Defaults that are a documented function, or None."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import batiste.linen as nn
from batiste.linen.flags import config

KEY = jax.random.key(0)
CASES = [
    (nn.Dense, (3,), {"dot_general": lax.dot_general}),
    (nn.DenseGeneral, (3,), {"dot_general": lax.dot_general}),
    (nn.Conv, (3, (1,)), {"conv_general_dilated": lax.conv_general_dilated}),
    (nn.ConvLocal, (3, (1,)), {"conv_general_dilated": lax.conv_general_dilated}),
    *[
        (cls, (1,), {f"{of}_dot_general": lax.dot_general for of in ("qkv", "out")})
        for cls in (
            nn.MultiHeadDotProductAttention,
            nn.MultiHeadAttention,
            nn.SelfAttention,
        )
    ],
]


def defaults(cls, args, name):
    """What says what the default of a field is."""
    field = {f.name: f for f in dataclasses.fields(cls)}[name]
    return (
        getattr(cls(*args), name),
        getattr(cls, name),
        field.default,
        inspect.signature(cls).parameters[name].default,
    )


@pytest.mark.parametrize(("cls", "args", "functions"), CASES)
def test_the_documented_function_or_none(cls, args, functions):
    for name, function in functions.items():
        assert set(defaults(cls, args, name)) == {function}
        with config.temp_flip_flag("documented_functions", False):
            assert set(defaults(cls, args, name)) == {None}
        assert set(defaults(cls, args, name)) == {function}
        assert getattr(cls(*args, **{name: None}), name) is None


@pytest.mark.parametrize(("cls", "args", "functions"), CASES)
def test_none_and_the_function_are_the_same(cls, args, functions):
    x = jnp.ones((2, 4, 5))
    module, none = cls(*args), cls(*args, **dict.fromkeys(functions))
    variables = module.init(KEY, x)
    programs = [str(jax.make_jaxpr(m.apply)(variables, x)) for m in (module, none)]
    assert programs[0] == programs[1]


def test_subclasses_follow():
    class Mine(nn.Dense):
        extra: int = 1

    class Own(nn.Dense):
        dot_general: int = 3  # type: ignore[assignment]

    class Made(nn.Dense):
        def __init__(self, features, **kwargs):
            super().__init__(features, **kwargs)

    lifted = nn.vmap(nn.Dense)
    with config.temp_flip_flag("documented_functions", False):
        for cls in (Mine, Made, lifted):
            assert cls(3).dot_general is None
        assert Own(3).dot_general == 3
    for cls in (Mine, Made, lifted):
        assert cls(3).dot_general is lax.dot_general
    assert Own(3).dot_general == 3

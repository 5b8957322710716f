"""The methods of built-in layers are those that their users call, and no others."""

import importlib
import pkgutil
from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen.module.state import ModuleBase

pytestmark = pytest.mark.filterwarnings("ignore:Fp8DotGeneralOp is deprecated")

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
X = jnp.ones((2, 4, 4))
IMAGE = jnp.ones((1, 5, 5, 4))

DOCUMENTED = {"__call__", "setup", "attend", "initialize_carry", "num_feature_axes"}
# Names that the helpers of layers have, or had, here or elsewhere.
PRIVATE = """
    _pad _check_groups _get_bias_shape _spectral_normalize _l2_normalize _normalize
    _moments _compute_stats _attend _sources _split _hidden _concat_params _mask _hook
    _dropout _keep _groups _scan _reverse _step _run _kernel _bias _flat _contract
    _promote _scale _axes _shape _features _carry _cache _weights _project
""".split()


def public_modules():
    """All subclasses of Module in this package, those in use as base classes too."""
    found = {}
    for info in pkgutil.walk_packages(nn.__path__, "batiste.linen."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, type) and issubclass(value, ModuleBase):
                found[value.__qualname__] = value
    for base in ("Module", "ModuleBase", "CompactNameScope"):
        del found[base]
    return found


MODULES = public_modules()


def cell(cls, *args):
    layer = cls(*args)
    carry = layer.initialize_carry(jax.random.key(0), X.shape[1:])
    return layer, (carry, X[0])


# For each class how to make a layer of it, or of a subclass, and what to call it with.
LAYERS = {
    "BatchNorm": lambda c: (c(use_running_average=False), (X,)),
    "LayerNorm": lambda c: (c(), (X,)),
    "RMSNorm": lambda c: (c(), (X,)),
    "GroupNorm": lambda c: (c(2), (X,)),
    "InstanceNorm": lambda c: (c(), (IMAGE,)),
    "Conv": lambda c: (c(4, (3, 3), padding="CIRCULAR"), (IMAGE,)),
    "ConvLocal": lambda c: (c(3, (3, 3)), (IMAGE,)),
    "ConvTranspose": lambda c: (c(3, (3, 3), padding="CIRCULAR"), (IMAGE,)),
    "Dense": lambda c: (c(3), (X,)),
    "DenseGeneral": lambda c: (c((3, 2), axis=(-1,), batch_dims=(0,)), (X,)),
    "Einsum": lambda c: (c((4, 3), "abc,cd->abd"), (X,)),
    "Embed": lambda c: (c(5, 3), (jnp.ones((2,), int),)),
    "Dropout": lambda c: (c(0.5, deterministic=False), (X,)),
    "PReLU": lambda c: (c(), (X,)),
    "Sequential": lambda c: (c([nn.Dense(2), nn.relu]), (X,)),
    "MultiHeadDotProductAttention": lambda c: (
        c(2, dropout_rate=0.1, deterministic=False, normalize_qk=True),
        (X, X),
    ),
    "MultiHeadAttention": lambda c: (c(2), (X,)),
    "SelfAttention": lambda c: (c(2), (X,)),
    "SpectralNorm": lambda c: (c(nn.Dense(3)), (X,)),
    "WeightNorm": lambda c: (c(nn.Conv(3, (3, 3))), (IMAGE,)),
    "RNN": lambda c: (c(nn.LSTMCell(3), reverse=True, keep_order=True), (X,)),
    "Bidirectional": lambda c: (
        c(nn.RNN(nn.GRUCell(3)), nn.RNN(nn.LSTMCell(3))),
        (X,),
    ),
    "LSTMCell": lambda c: cell(c, 4),
    "OptimizedLSTMCell": lambda c: cell(c, 4),
    "SimpleCell": lambda c: cell(c, 4),
    "GRUCell": lambda c: cell(c, 4),
    "MGUCell": lambda c: cell(c, 4),
    "ConvLSTMCell": lambda c: cell(c, 4, (3,)),
    "DenseParams": lambda c: (c(3), (X,)),
    "Fp8Einsum": lambda c: (c(), ("abc,cd->abd", X, jnp.ones((4, 3)))),
    **{
        f"Fp8{kind}DotGeneralOp": lambda c: (
            c(),
            (X, jnp.ones((4, 3)), (((2,), (0,)), ((), ()))),
        )
        for kind in ("", "Direct")
    },
    "NANOOFp8DotGeneralOp": lambda c: (
        c(),
        (X, jnp.ones((4, 3)), (((2,), (0,)), ((), ()))),
    ),
}
OPTIONS = {"SpectralNorm": {"update_stats": True}}
# They have no `__call__` of their own to run.
# What others are made of, and what wraps a model.
BASES = {"RNNCellBase", "Fp8DotGeneralBase", "_Conv", "Replaced"}


def test_every_layer_is_here():
    assert set(MODULES) == set(LAYERS) | BASES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_methods_are_the_documented_ones(name):
    cls = MODULES[name]
    made = {
        name
        for base in cls.__mro__[: cls.__mro__.index(nn.Module)]
        for name, value in vars(base).items()
        if callable(value) and hasattr(value, "method_handler_wrapped")
    }
    assert made <= DOCUMENTED


def calls_of(layer, args, options):
    """The calls that interceptors see, and the names whose results are stored."""
    seen = []

    def record(next_fun, args, kwargs, context):
        seen.append((type(context.module).__name__, context.method_name))
        return next_fun(*args, **kwargs)

    variables = layer.init(KEYS, *args, **options)
    with nn.intercept_methods(record):
        _, state = layer.apply(
            variables,
            *args,
            **options,
            rngs=KEYS,
            mutable=True,
            capture_intermediates=lambda module, name: True,
        )
    stored = jax.tree_util.tree_leaves_with_path(state["intermediates"])
    names = {key.key for path, _ in stored for key in path if hasattr(key, "key")}
    return seen, names


@pytest.mark.parametrize("name", LAYERS)
def test_interceptors_see_what_users_call(name):
    layer, args = LAYERS[name](MODULES[name])
    seen, names = calls_of(layer, args, OPTIONS.get(name, {}))
    assert (name, "__call__") in seen
    assert {method for _, method in seen} <= DOCUMENTED
    submodules = {"forward_rnn", "backward_rnn", "cell", "layer_instance"}
    methods = {n for n in names if not n[0].isalpha() or n.islower()} - submodules
    assert "__call__" in methods
    assert not any(n.startswith("_") and n != "__call__" for n in methods)
    # One call of a layer is one call, but where a layer calls the one it extends.
    own = [method for cls, method in seen if cls == name and method == "__call__"]
    assert len(own) == (2 if name == "SelfAttention" else 1)


def taken(self, *args, **kwargs):
    raise AssertionError("A layer calls a helper by a name that is its users'.")


@pytest.mark.parametrize("name", LAYERS)
def test_subclasses_may_have_methods_of_any_name(name):
    cls = MODULES[name]
    metaclass: Any = type(cls)
    new = metaclass(name, (cls,), dict.fromkeys(PRIVATE, taken))
    layer, args = LAYERS[name](new)
    expected, args = LAYERS[name](cls)
    options = OPTIONS.get(name, {})
    y, _ = layer.init_with_output(KEYS, *args, **options)
    z, _ = expected.init_with_output(KEYS, *args, **options)
    for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(z), strict=True):
        assert (a == b).all()

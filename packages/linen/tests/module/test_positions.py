"""Positional arguments in the order of the documentation and in that of today."""

import dataclasses
import inspect
from typing import Any

import jax
import pytest

import batiste.linen as nn
from batiste.linen.flags import config
from batiste.linen.module.positions import Orders, in_force

INIT, OTHER = nn.initializers.normal(1.0), nn.initializers.normal(2.0)
CELLS = [nn.LSTMCell, nn.OptimizedLSTMCell, nn.GRUCell, nn.MGUCell, nn.SimpleCell]
# The documented order, and the fields that it does not have.
DOCUMENTED: dict[Any, str] = {
    nn.Dense: "features use_bias dtype param_dtype precision kernel_init bias_init "
    "dot_general",
    nn.DenseGeneral: "features axis batch_dims use_bias dtype param_dtype kernel_init "
    "bias_init precision dot_general",
    nn.Conv: "features kernel_size strides padding input_dilation kernel_dilation "
    "feature_group_count use_bias mask dtype param_dtype precision kernel_init "
    "bias_init conv_general_dilated",
    nn.SelfAttention: "num_heads dtype param_dtype qkv_features out_features "
    "broadcast_dropout dropout_rate deterministic precision kernel_init bias_init "
    "use_bias attention_fn decode qkv_dot_general out_dot_general",
    nn.GroupNorm: "num_groups group_size epsilon dtype param_dtype use_bias use_scale "
    "bias_init scale_init axis_name axis_index_groups",
    nn.LSTMCell: "gate_fn activation_fn kernel_init recurrent_kernel_init bias_init "
    "dtype param_dtype",
    nn.RNN: "cell cell_size time_major return_carry reverse keep_order unroll "
    "variable_axes variable_broadcast variable_carry split_rngs",
}
DOCUMENTED[nn.ConvLocal] = DOCUMENTED[nn.Conv]
DOCUMENTED[nn.MultiHeadAttention] = DOCUMENTED[nn.SelfAttention]
DOCUMENTED[nn.MultiHeadDotProductAttention] = DOCUMENTED[nn.SelfAttention]
DOCUMENTED[nn.OptimizedLSTMCell] = DOCUMENTED[nn.LSTMCell]
DOCUMENTED[nn.GRUCell] = DOCUMENTED[nn.LSTMCell]


def declared(cls):
    return [
        f.name
        for f in dataclasses.fields(cls)
        if f.init and not f.kw_only and f.name not in ("parent", "name")
    ]


def example(name):
    """A value of each field that no other field could have."""
    if name == "gate_fn":
        return nn.relu
    return {"axis_name": "batch", "time_major": True, "use_bias": True}.get(name, name)


@pytest.mark.parametrize("cls", DOCUMENTED)
def test_the_documented_order(cls):
    names = DOCUMENTED[cls].split()
    with config.temp_flip_flag("documented_orders", True):
        made = cls(*map(example, names))
        assert [getattr(made, name) for name in names] == list(map(example, names))
        order = list(inspect.signature(cls).parameters)
        assert order[: len(names)] == names
        assert sorted(order) == sorted([*declared(cls), "parent", "name"])


@pytest.mark.parametrize("cls", [*DOCUMENTED, nn.MGUCell, nn.SimpleCell])
def test_the_declared_order(cls):
    # A width, the indices of axes, or a flag tell that it is this one.
    known = {"features": 4, "reduction_axes": (1,)}
    names = declared(cls)
    values = [known.get(name, name) for name in names]
    made = cls(*values)
    assert [getattr(made, name) for name in names] == values
    assert list(inspect.signature(cls).parameters) == [*names, "parent", "name"]


@pytest.mark.parametrize("cls", CELLS)
@pytest.mark.parametrize("documented", [False, True])
def test_cells_that_begin_with_a_function(cls, documented):
    with config.temp_flip_flag("documented_orders", documented):
        cell: Any = cls(nn.relu, nn.gelu, INIT) if cls is not nn.SimpleCell else None
        if cell is not None:
            assert (cell.gate_fn, cell.activation_fn) == (nn.relu, nn.gelu)
            assert cell.kernel_init is INIT
        assert cls(nn.relu).features is None
        # The default of another place is a value like any other.
        same = cls(nn.sigmoid, nn.sigmoid)
        first, second = [n for n in declared(cls) if n != "features"][:2]
        assert getattr(same, first) is getattr(same, second) is nn.sigmoid
        assert cls(4).features == cls(features=4).features == 4
        assert cls(4, nn.relu).features == 4
        assert cls(nn.relu, dtype="float16").dtype == "float16"


def test_a_cell_without_features_runs():
    cell = nn.LSTMCell(nn.sigmoid, nn.tanh)
    carry = cell.initialize_carry(jax.random.key(0), (2,), 4)
    x = jax.numpy.ones((2, 3))
    ((c, h), y), _ = cell.init_with_output(jax.random.key(1), carry, x)
    assert c.shape == h.shape == y.shape == (2, 4)


@pytest.mark.parametrize("documented", [False, True])
def test_what_tells_the_orders_of_an_rnn_apart(documented):
    cell = nn.LSTMCell(4)
    with config.temp_flip_flag("documented_orders", documented):
        assert nn.RNN(cell, True).time_major
        assert nn.RNN(cell, False, True).return_carry
        assert nn.RNN(cell, True, cell_size=3).cell_size == 3
        assert nn.RNN(cell, 3).cell_size == 3
        assert nn.RNN(cell, (3, 4), True).cell_size == (3, 4)
        assert nn.RNN(cell, None, True).time_major


ATTENTION = (2, None, "float32", None, None, True, 0.0, None, None, INIT)
GROUPS = (2, None, 1e-6, None, "float32", True, True, INIT, INIT)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: nn.SelfAttention(*ATTENTION, OTHER, False),
            {"bias_init": OTHER, "use_bias": False, "out_kernel_init": None},
        ),
        (
            lambda: nn.SelfAttention(*ATTENTION, OTHER, INIT),
            {"out_kernel_init": OTHER, "bias_init": INIT},
        ),
        (lambda: nn.SelfAttention(*ATTENTION, None), {"out_kernel_init": None}),
        (
            lambda: nn.GroupNorm(*GROUPS, "batch"),
            {"axis_name": "batch", "reduction_axes": None},
        ),
        (lambda: nn.GroupNorm(*GROUPS, ("a", "b")), {"axis_name": ("a", "b")}),
        (
            lambda: nn.GroupNorm(*GROUPS, (1, 2), "batch"),
            {"axis_name": "batch", "reduction_axes": (1, 2)},
        ),
        (lambda: nn.GroupNorm(*GROUPS, -1), {"reduction_axes": -1}),
        (lambda: nn.GroupNorm(*GROUPS, None, "batch"), {"axis_name": "batch"}),
        (
            lambda: nn.GroupNorm(*GROUPS, None, [[0], [1]]),
            {"axis_index_groups": [[0], [1]], "axis_name": None},
        ),
        (
            lambda: nn.Dense(2, True, None, "float32", None, INIT, INIT, 1, 2),
            {"promote_dtype": 1, "dot_general": 2},
        ),
    ],
)
@pytest.mark.parametrize("documented", [False, True])
def test_values_that_tell_the_orders_apart(make, expected, documented):
    with config.temp_flip_flag("documented_orders", documented):
        made = make()
    assert {name: getattr(made, name) for name in expected} == expected


def dot(*args, **kwargs):
    return jax.lax.dot_general(*args, **kwargs)


@pytest.mark.parametrize(
    ("make", "documented", "today"),
    [
        (
            lambda: nn.SelfAttention(*ATTENTION, OTHER),
            "bias_init",
            "out_kernel_init",
        ),
        (
            lambda: nn.Dense(2, True, None, "float32", None, INIT, OTHER, dot),
            "dot_general",
            "promote_dtype",
        ),
        (
            lambda: nn.Conv(
                *(2, 3, 1, "SAME", 1, 1, 1, True, None, None, "float32", None),
                *(INIT, INIT, dot),
            ),
            "conv_general_dilated",
            "promote_dtype",
        ),
    ],
)
def test_values_that_do_not(make, documented, today):
    untouched = getattr(type(make()), documented)
    assert getattr(make(), today) in (OTHER, dot)
    assert getattr(make(), documented) is untouched
    with config.temp_flip_flag("documented_orders", True):
        assert getattr(make(), documented) in (OTHER, dot)
        assert getattr(make(), today) not in (OTHER, dot)


def test_subclasses():
    class Mine(nn.LSTMCell):
        extra: int = 3

    class Changed(nn.RNN):
        time_major: bool = True

    assert Mine(4, extra=5).extra == 5
    assert Mine(nn.relu, nn.relu).activation_fn is nn.relu
    documented = [*DOCUMENTED[nn.LSTMCell].split(), "extra"]
    orders = nn.LSTMCell._field_orders
    assert orders.other_of(declared(Mine))[: len(documented)] == documented
    assert Changed(nn.LSTMCell(4)).time_major
    assert Changed(nn.LSTMCell(4), 5).cell_size == 5
    with config.temp_flip_flag("documented_orders", True):

        class Late(nn.LSTMCell):
            extra: int = 3

        for cls in (Mine, Late):
            assert list(inspect.signature(cls).parameters)[: len(documented)] == (
                documented
            )


def test_lifted_classes():
    lifted = nn.vmap(nn.LSTMCell, {"params": None}, {"params": False})
    assert lifted(nn.relu).gate_fn is nn.relu
    assert nn.remat(nn.RNN)(nn.LSTMCell(3), True).time_major


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LSTMCell(*range(10)), "takes 10 positional arguments but 11"),
        (lambda: nn.RNN(*"abcdefghijkl"), "takes 12 positional arguments but 13"),
        (
            lambda: nn.LSTMCell(nn.relu, gate_fn=nn.gelu),
            "multiple values for argument 'gate_fn'",
        ),
        (
            lambda: nn.RNN(nn.LSTMCell(3), True, time_major=True),
            "multiple values for argument 'time_major'",
        ),
        (lambda: nn.LSTMCell(4, features=3), "multiple values for argument 'features'"),
        (lambda: nn.RNN(), "missing 1 required positional argument: 'cell'"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_signature_in_force():
    orders = Orders(("a",), ("new",), lambda values: None)
    signature = inspect.signature(lambda self, new, a, *, key: None)
    with config.temp_flip_flag("documented_orders", True):
        other = in_force(signature, orders, ["new", "a"])
    assert list(other.parameters) == ["self", "a", "new", "key"]
    assert in_force(other, orders, ["new", "a"]) == signature

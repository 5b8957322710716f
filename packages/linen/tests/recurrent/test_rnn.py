"""Tests of batiste.linen.recurrent.rnn."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

import batiste.linen as nn
from batiste.linen.flags import config
from batiste.linen.recurrent import (
    RNN,
    Bidirectional,
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    RNNCellBase,
    SimpleCell,
    flip_sequences,
)

KEY = jax.random.key(0)
# The default recurrent initializer takes long to compile.
Simple = functools.partial(
    SimpleCell, recurrent_kernel_init=jax.nn.initializers.normal(0.5)
)
GRU = functools.partial(GRUCell, recurrent_kernel_init=jax.nn.initializers.normal(0.5))


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = normal(1, 2, 5, 3)
LENGTHS = np.array([3, 5])


class Sum(RNNCellBase):
    """Adds up its inputs, from a carry that depends on the key."""

    start: float = 0.0

    def __call__(self, carry, inputs):
        carry = carry + inputs
        return carry, carry

    def initialize_carry(self, rng, input_shape):
        return jnp.full(input_shape, self.start)


def by_hand(cell, variables, x, carry):
    outputs = []
    for t in range(x.shape[1]):
        carry, y = cell.apply(variables, carry, x[:, t])
        outputs.append(y)
    return carry, np.stack(outputs, 1)


def test_rnn_runs_the_cell_step_by_step():
    cell = GRU(4)
    layer = RNN(cell)
    variables = layer.init(KEY, X)
    assert set(variables["params"]) == {"cell"}
    own = {"params": variables["params"]["cell"]}
    carry, y = by_hand(cell, own, X, jnp.zeros((2, 4)))
    found = layer.apply(variables, X, return_carry=True)
    np.testing.assert_allclose(found[0], carry, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], y, rtol=1e-4, atol=1e-5)
    first = normal(2, 2, 4)
    _, y = by_hand(cell, own, X, first)
    found = layer.apply(variables, X, initial_carry=first)
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [LSTMCell, GRUCell, SimpleCell])
def test_both_generations_of_sizes(make):
    older = jax.eval_shape(RNN(make(), cell_size=4).init_with_output, KEY, X)
    newer = jax.eval_shape(RNN(make(4)).init_with_output, KEY, X)
    assert older[0].shape == newer[0].shape == (2, 5, 4)
    assert jax.tree.map(jnp.shape, older) == jax.tree.map(jnp.shape, newer)
    both = jax.eval_shape(RNN(make(), 4).init_with_output, KEY, X)
    assert both[0].shape == (2, 5, 4)


@pytest.mark.parametrize("cell_size", [None, (6, 5, 4)])
def test_images(cell_size):
    layer = RNN(ConvLSTMCell(4, (3, 3)), cell_size=cell_size, return_carry=True)
    x = jnp.ones((2, 7, 6, 5, 3))
    ((c, h), y), _ = jax.eval_shape(layer.init_with_output, KEY, x)
    assert c.shape == h.shape == (2, 6, 5, 4)
    assert y.shape == (2, 7, 6, 5, 4)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.sampled_from([(), (2,), (2, 2)]),
    time=st.integers(0, 4),
    data=st.data(),
    time_major=st.booleans(),
    reverse=st.booleans(),
    keep_order=st.booleans(),
    as_mask=st.booleans(),
    padded=st.booleans(),
)
def test_outputs_and_carries_are_those_of_each_sequence(
    batch, time, data, time_major, reverse, keep_order, as_mask, padded
):
    n = int(np.prod(batch))
    each = st.integers(0, time) if padded else st.just(time)
    lengths = data.draw(st.lists(each, min_size=n, max_size=n))
    x = normal(0, n, time, 1)
    kwargs = {}
    if padded and as_mask:
        mask = np.arange(time) < np.array(lengths)[:, None]
        mask = mask.reshape(*batch, time)
        kwargs["segmentation_mask"] = np.moveaxis(mask, -1, 0) if time_major else mask
    elif padded:
        kwargs["seq_lengths"] = np.array(lengths).reshape(batch)
    inputs = x.reshape(*batch, time, 1)
    if time_major:
        inputs = np.moveaxis(inputs, -2, 0)
    layer = RNN(Sum(start=1.0), time_major=time_major, return_carry=True)
    carry, y = layer.apply({}, inputs, reverse=reverse, keep_order=keep_order, **kwargs)
    if time_major:
        y = jnp.moveaxis(y, 0, -2)
    carry, y = np.reshape(carry, (n, 1)), np.reshape(y, (n, time, 1))
    for b, length in enumerate(lengths):
        order = slice(None, None, -1 if reverse else 1)
        expected = 1 + np.cumsum(x[b, :length][order], 0)
        last = expected[-1] if length else np.ones(1)
        np.testing.assert_allclose(carry[b], last, rtol=1e-4, atol=1e-5)
        if reverse and keep_order:
            expected = expected[::-1]
        np.testing.assert_allclose(y[b, :length], expected, rtol=1e-4, atol=1e-5)


def test_arguments_override_attributes():
    layer = RNN(Sum(), time_major=True, return_carry=True, reverse=True)
    y = layer.apply({}, X, time_major=False, return_carry=False, reverse=False)
    np.testing.assert_allclose(y, np.cumsum(X, 1), rtol=1e-4, atol=1e-5)


def test_unrolling_changes_nothing():
    variables = RNN(Simple(4)).init(KEY, X)
    y = RNN(Simple(4)).apply(variables, X)
    unrolled = RNN(Simple(4), unroll=5).apply(variables, X)
    np.testing.assert_allclose(unrolled, y, rtol=1e-5, atol=1e-6)


def test_options_of_scan():
    layer = RNN(
        Simple(4),
        variable_axes={"params": 0},
        variable_broadcast=False,
        split_rngs={"params": True},
    )
    kernel = layer.init(KEY, X)["params"]["cell"]["i"]["kernel"]
    assert kernel.shape == (5, 3, 4)
    assert not np.allclose(kernel[0], kernel[1])


def test_the_key_reaches_the_carry():
    layer = RNN(Simple(4, carry_init=jax.nn.initializers.normal(1.0)))
    variables = layer.init(KEY, X)
    default = layer.apply(variables, X)
    same = layer.apply(variables, X, init_key=jax.random.key(0))
    other = layer.apply(variables, X, init_key=jax.random.key(1))
    np.testing.assert_array_equal(default, same)
    assert not np.allclose(default, other)


def test_no_equation_for_a_key_that_is_not_used():
    layer = RNN(Simple(4))
    variables = layer.init(KEY, X)
    jaxpr = jax.make_jaxpr(layer.apply)(variables, X)
    assert not any("random" in eqn.primitive.name for eqn in jaxpr.eqns)


def test_a_cell_of_the_older_generation():
    class Cell(RNNCellBase):
        def __call__(self, carry, inputs):
            return carry + 1, carry * inputs

        @staticmethod
        def initialize_carry(rng, batch_dims, size, init_fn=jnp.zeros):
            return init_fn((*batch_dims, size))

    y = RNN(Cell(), cell_size=3).apply({}, jnp.ones((2, 5, 3)))
    assert y[0, :, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("layer", "x", "kwargs", "message"),
    [
        (RNN(Sum()), X[0, 0], {}, r"\(3,\), but Sum needs a time axis"),
        (
            RNN(LSTMCell(), cell_size=(2, 3)),
            X[0],
            {},
            r"LSTMCell needs a time axis and 2 or more axes of features",
        ),
        (RNN(LSTMCell(4), cell_size=True), X, {}, "cell_size=True is not a size"),
        (RNN(Sum()), X, {"seq_lengths": [1]}, r"seq_lengths has the shape \(1,\)"),
        (
            RNN(Sum()),
            X,
            {"segmentation_mask": np.ones((5, 2))},
            r"segmentation_mask has the shape \(5, 2\).*of shape \(2, 5\)",
        ),
        (
            RNN(Sum()),
            X,
            {"segmentation_mask": np.ones((2, 5)), "seq_lengths": [1, 2]},
            "both seq_lengths and segmentation_mask",
        ),
    ],
)
def test_inputs_that_do_not_fit(layer, x, kwargs, message):
    with pytest.raises(ValueError, match="^RNN: .*" + message):
        layer.init(KEY, x, **kwargs)


def test_errors_name_the_module():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return RNN(Sum(), name="reader")(x, seq_lengths=[1])

    with pytest.raises(ValueError, match="^RNN 'reader': seq_lengths"):
        Model().init(KEY, X)


def test_flip_sequences():
    x = np.arange(10).reshape(2, 5)
    flipped = flip_sequences(x, None, num_batch_dims=1, time_major=False)
    np.testing.assert_array_equal(flipped, x[:, ::-1])
    flipped = flip_sequences(x, None, num_batch_dims=1, time_major=True)
    np.testing.assert_array_equal(flipped, x[::-1])
    flipped = flip_sequences(x, LENGTHS, num_batch_dims=1, time_major=False)
    np.testing.assert_array_equal(flipped, [[2, 1, 0, 4, 3], [9, 8, 7, 6, 5]])
    mask = np.arange(5) < LENGTHS[:, None]
    for moved, time_major in ((x, False), (x.T, True)):
        flip = functools.partial(
            flip_sequences, num_batch_dims=1, time_major=time_major
        )
        expected = flipped.T if time_major else flipped
        np.testing.assert_array_equal(flip(moved, LENGTHS), expected)
        found = flip(moved, mask.T if time_major else mask)
        np.testing.assert_array_equal(found, expected)


def test_flip_sequences_refuses_lengths_that_do_not_fit():
    with pytest.raises(ValueError, match=r"^flip_sequences: seq_lengths .* \(3,\)"):
        flip_sequences(X, np.ones(3, int), num_batch_dims=1, time_major=False)


def test_bidirectional_reads_both_ways():
    layer = Bidirectional(RNN(Sum()), RNN(Sum()))
    y = layer.apply({}, X)
    np.testing.assert_allclose(y[..., :3], np.cumsum(X, 1), rtol=1e-4, atol=1e-5)
    backward = np.cumsum(X[:, ::-1], 1)[:, ::-1]
    np.testing.assert_allclose(y[..., 3:], backward, rtol=1e-4, atol=1e-5)
    added = layer.clone(merge_fn=jnp.add).apply({}, X)
    np.testing.assert_allclose(added, y[..., :3] + y[..., 3:], rtol=1e-5)


@pytest.mark.parametrize("as_mask", [False, True])
def test_bidirectional_with_padding_and_carries(as_mask):
    layer = Bidirectional(RNN(Sum()), RNN(Sum()), return_carry=True)
    kwargs: dict[str, Any] = {"seq_lengths": LENGTHS}
    if as_mask:
        kwargs = {"segmentation_mask": np.arange(5) < LENGTHS[:, None]}
    first = np.ones((2, 3), np.float32), 2 * np.ones((2, 3), np.float32)
    (forward, backward), y = layer.apply({}, X, initial_carry=first, **kwargs)
    totals = np.stack([X[0, :3].sum(0), X[1].sum(0)])
    np.testing.assert_allclose(forward, totals + 1, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(backward, totals + 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y[0, 0, 3:], totals[0] + 2, rtol=1e-4, atol=1e-5)


def test_bidirectional_time_major_and_parameters():
    layer = Bidirectional(RNN(GRU(4)), RNN(GRU(2)), time_major=True)
    y, variables = layer.init_with_output(KEY, X.swapaxes(0, 1))
    assert y.shape == (5, 2, 6)
    assert set(variables["params"]) == {"forward_rnn", "backward_rnn"}
    other = layer.apply(variables, X, time_major=False, init_key=KEY)
    np.testing.assert_allclose(other, y.swapaxes(0, 1), rtol=1e-4, atol=1e-5)


def test_bidirectional_with_one_layer_shares_its_parameters():
    rnn = RNN(Simple(4))
    variables = Bidirectional(rnn, rnn).init(KEY, X)
    assert len(jax.tree.leaves(variables)) == 3


# The default carry.

CELLS = [nn.SimpleCell, nn.GRUCell, nn.MGUCell, nn.LSTMCell, nn.OptimizedLSTMCell]


def run_by_hand(cell, variables, x, carry):
    ys = []
    for i in range(x.shape[1]):
        carry, y = cell.apply(variables, carry, x[:, i])
        ys.append(y)
    return jnp.stack(ys, 1)


@pytest.fixture
def with_x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.usefixtures("with_x64")
@pytest.mark.parametrize("x_dtype", ["float32", "bfloat16", "float64", "complex64"])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("make", CELLS)
def test_the_default_carry_has_the_dtype_of_one_step(make, x_dtype, dtype):
    if x_dtype == "complex64" and dtype is not None:
        pytest.skip("what is complex is not computed in real numbers")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), x_dtype)
    cell = make(4, dtype=dtype)
    for layer in (nn.RNN(cell), nn.RNN(cell, reverse=True, keep_order=True)):
        variables = layer.init(jax.random.key(0), x)
        carry, y = layer.apply(variables, x, return_carry=True)
        flip = -1 if layer.reverse else 1
        own = {"params": variables["params"]["cell"]}
        zeros = jax.tree.map(jnp.zeros_like, carry)
        expected = run_by_hand(cell, own, x[:, ::flip], zeros)[:, ::flip]
        assert y.dtype == expected.dtype
        found = [np.asarray(array, "complex128") for array in (y, expected)]
        np.testing.assert_allclose(*found, atol=0.02)
    both = nn.Bidirectional(nn.RNN(cell), nn.RNN(make(4, dtype=dtype)))
    assert both.init_with_output(jax.random.key(0), x)[0].dtype == y.dtype


def test_a_carry_that_is_given_is_not_changed():
    layer = nn.RNN(nn.SimpleCell(4, dtype=jnp.bfloat16))
    x = jnp.ones((2, 5, 3))
    variables = layer.init(jax.random.key(0), x)
    with pytest.raises(TypeError, match="carry"):
        layer.apply(variables, x, initial_carry=jnp.zeros((2, 4)))


def test_an_error_of_the_cell_is_raised_as_it_is():
    class Cell(nn.GRUCell):
        def __call__(self, carry, x):
            raise RuntimeError("Not today.")

    with pytest.raises(RuntimeError, match="Not today"):
        nn.RNN(Cell(4)).init(jax.random.key(0), jnp.ones((2, 5, 3)))


@pytest.mark.parametrize("make", CELLS)
def test_the_default_carry_within_a_shard_map(make):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    layer = nn.Bidirectional(nn.RNN(make(4)), nn.RNN(make(4)))
    x = jnp.ones((2, 5, 3))
    variables = layer.init(jax.random.key(0), x)
    run = jax.shard_map(
        layer.apply,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data")),
        out_specs=PartitionSpec("data"),
    )
    np.testing.assert_allclose(run(variables, x), layer.apply(variables, x), rtol=1e-6)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell"])
def test_the_carry_of_an_empty_sequence(name, time_major, keep):
    layer = RNN(getattr(nn, name)(4), time_major=time_major, return_carry=True)
    x = jnp.arange(24.0).reshape((4, 2, 3) if time_major else (2, 4, 3)) / 7
    variables = layer.init(jax.random.key(0), x)
    full, _ = layer.apply(variables, x)
    config.update("empty_sequences_keep_carry", keep)
    try:
        carry, _ = layer.apply(variables, x, seq_lengths=jnp.array([0, 4]))
    finally:
        config.update("empty_sequences_keep_carry", True)
    for part, whole in zip(jax.tree.leaves(carry), jax.tree.leaves(full), strict=True):
        expected = jnp.zeros(4) if keep else whole[0]
        assert jnp.allclose(part[0], expected)
        assert jnp.allclose(part[1], whole[1])


def test_sequences_of_no_steps_are_flipped():
    empty, lengths = jnp.ones((2, 0, 3)), jnp.zeros(2, int)
    assert nn.recurrent.flip_sequences(empty, lengths, 1, False).shape == (2, 0, 3)

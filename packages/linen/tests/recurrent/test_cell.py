"""Tests of batiste.linen.recurrent.cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.linen.recurrent import (
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    MGUCell,
    OptimizedLSTMCell,
    RNNCellBase,
    SimpleCell,
)
from batiste.linen.recurrent.cell import check_carry, one_array, pair_of_arrays

KEY = jax.random.key(0)
CELLS = [LSTMCell, OptimizedLSTMCell, GRUCell, SimpleCell, MGUCell]


def shapes(tree):
    return [leaf.shape for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("cell", CELLS)
def test_both_generations_of_carries(cell):
    arrays = 2 if "LSTM" in cell.__name__ else 1
    for carry in (
        cell.initialize_carry(KEY, (2, 3), 4),
        cell().initialize_carry(KEY, (2, 3), 4),
        cell(features=4).initialize_carry(KEY, (2, 3, 7)),
        cell(4).initialize_carry(KEY, input_shape(2, 3, 7)),
    ):
        assert shapes(carry) == [(2, 3, 4)] * arrays
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(carry))


def input_shape(*shape):
    return shape


def test_carries_of_images():
    cell = ConvLSTMCell(features=4, kernel_size=(3, 3))
    assert cell.num_feature_axes == 3
    assert shapes(cell.initialize_carry(KEY, (2, 8, 6, 3))) == [(2, 8, 6, 4)] * 2
    assert shapes(cell.initialize_carry(KEY, (8, 6, 3))) == [(8, 6, 4)] * 2
    carry = ConvLSTMCell.initialize_carry(KEY, (2,), (8, 6, 4))
    assert shapes(carry) == [(2, 8, 6, 4)] * 2


def test_initializers_of_carries():
    normal = jax.nn.initializers.normal()
    cell = LSTMCell(4, carry_init=normal, param_dtype=jnp.bfloat16)
    c, h = cell.initialize_carry(KEY, (2, 3))
    assert c.dtype == h.dtype == jnp.bfloat16
    assert not (c == h).any()
    c_key, h_key = jax.random.split(KEY)
    c, h = LSTMCell.initialize_carry(KEY, (2,), 4, normal)
    np.testing.assert_array_equal(c, normal(c_key, (2, 4)))
    np.testing.assert_array_equal(h, normal(h_key, (2, 4)))
    h = GRUCell(4, carry_init=normal).initialize_carry(KEY, (2, 3))
    np.testing.assert_array_equal(h, normal(KEY, (2, 4)))


def test_a_carry_of_zeros_is_one_equation_for_each_array():
    jaxpr = jax.make_jaxpr(lambda key: LSTMCell(4).initialize_carry(key, (2, 3)))(KEY)
    assert [eqn.primitive.name for eqn in jaxpr.eqns] == ["broadcast_in_dim"] * 2


def test_carries_need_a_size():
    for initialize in (GRUCell.initialize_carry, GRUCell().initialize_carry):
        with pytest.raises(ValueError, match=r"GRUCell.* construct the cell with it"):
            initialize(KEY, (2, 3))
    cell = ConvLSTMCell(features=4, kernel_size=(3, 3))
    with pytest.raises(ValueError, match=r"the shape \(8, 3\), .* has 3 or more axes"):
        cell.initialize_carry(KEY, (8, 3))


def test_a_cell_must_make_its_carry():
    class Cell(RNNCellBase):
        pass

    assert Cell().num_feature_axes == 1
    with pytest.raises(NotImplementedError, match="Cell has no carry to start with"):
        Cell().initialize_carry(KEY, (2, 3))


@pytest.mark.parametrize(
    ("cell", "carry"),
    [
        (GRUCell(4), jnp.ones(())),
        (LSTMCell(4), (jnp.ones((2, 4)), jnp.ones((2, 5)))),
        (LSTMCell(4), (jnp.ones(()), jnp.ones(()))),
    ],
)
def test_a_carry_without_one_number_of_features_is_refused(cell, carry):
    name = type(cell).__name__
    with pytest.raises(ValueError, match=f"^{name}: the carry has an array of shape"):
        cell.init(KEY, carry, jnp.ones((2, 3)))


def test_cells_differ_by_their_fields():
    assert LSTMCell(4) == LSTMCell(4) != LSTMCell(5)
    assert hash(LSTMCell(4)) == hash(LSTMCell(4))


def test_arrays_of_a_carry_have_keys_of_their_own():
    def init(rng, shape):
        return rng, shape

    assert one_array(init, KEY, (2, 4)) == (KEY, (2, 4))
    c_key, h_key = jax.random.split(KEY)
    assert pair_of_arrays(init, KEY, (4,)) == ((c_key, (4,)), (h_key, (4,)))
    assert pair_of_arrays(init, None, (4,)) == ((None, (4,)), (None, (4,)))


def test_a_carry_is_checked_against_the_features_that_there_are():
    cell = GRUCell().bind({})
    check_carry(cell, (jnp.ones((2, 3)), jnp.ones(3)), 3)
    check_carry(cell, jnp.ones((2, 3)), None)
    with pytest.raises(ValueError, match=r"should have 4 features; make the carry"):
        check_carry(cell, jnp.ones((2, 3)), 4)
    with pytest.raises(ValueError, match=r"should have the hidden features"):
        check_carry(cell, jnp.ones(()), None)


def test_a_subclass_may_make_its_carry_in_either_way():
    class Both(GRUCell):
        pass

    class Own(GRUCell):
        def initialize_carry(self, rng, input_shape):
            return jnp.ones((*input_shape[:-1], self.features))

    assert Both.initialize_carry(KEY, (2,), 4).tolist() == [[0] * 4] * 2
    assert Own(4).initialize_carry(KEY, (2, 3)).tolist() == [[1] * 4] * 2


@pytest.mark.parametrize("cls", [LSTMCell, OptimizedLSTMCell, GRUCell])
def test_keywords_of_both_generations(cls):
    zeros = jax.nn.initializers.zeros
    key = jax.random.key(0)
    older = cls.initialize_carry(rng=key, batch_dims=(2,), size=4, init_fn=zeros)
    newer = cls(4).initialize_carry(rng=key, input_shape=(2, 3))
    shapes = [[x.shape for x in jax.tree.leaves(carry)] for carry in (older, newer)]
    assert shapes[0] == shapes[1] == [(2, 4)] * len(shapes[0])


@pytest.mark.parametrize("shapes", [{}, {"input_shape": (2, 3), "batch_dims": (2,)}])
def test_one_shape_is_needed(shapes):
    with pytest.raises(TypeError, match=r"GRUCell.initialize_carry takes one shape"):
        GRUCell(4).initialize_carry(jax.random.key(0), **shapes)

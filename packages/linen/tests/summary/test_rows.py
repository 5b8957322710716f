"""Tests of batiste.linen.summary.rows."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.linen.module.context import context
from batiste.linen.summary import Row
from batiste.linen.summary.rows import make_rows
from batiste.linen.summary.text import ArraySpec

KEY = jax.random.key(0)
X = jnp.ones((16, 9))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        self.param("scale", nn.initializers.ones, (9,))
        return nn.Dense(9)(x)


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        block = Block()
        return block(block(x))


def shapes(tree):
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def test_a_row_for_each_module_in_the_order_of_calls():
    rows = make_rows(Model(), KEY, (X,), {})
    assert [(row.path, row.module_type) for row in rows] == [
        ((), Model),
        (("Block_0",), Block),
        (("Block_0", "Dense_0"), nn.Dense),
    ]


def test_variables_belong_to_their_module_and_count_there():
    _, block, dense = make_rows(Model(), KEY, (X,), {})
    assert shapes(block.module_variables) == {"params": {"scale": (9,)}}
    assert block.counted_variables == block.module_variables
    assert shapes(dense.module_variables) == {
        "params": {"kernel": (9, 9), "bias": (9,)}
    }


def test_variables_of_hidden_modules_count_for_the_row_above():
    model, block = make_rows(Model(), KEY, (X,), {}, depth=1)
    assert model.counted_variables == {}
    assert shapes(block.module_variables) == {"params": {"scale": (9,)}}
    assert shapes(block.counted_variables) == {
        "params": {"scale": (9,), "Dense_0": {"kernel": (9, 9), "bias": (9,)}}
    }


def test_variables_of_modules_that_are_not_called_belong_to_the_one_above():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.scope.push("hidden").param("w", nn.initializers.ones, (3,))

    (row,) = make_rows(Tied(), KEY, (X,), {})
    assert shapes(row.module_variables) == {"params": {"hidden": {"w": (3,)}}}


def test_repeated_calls_have_rows_on_request_without_variables():
    rows = make_rows(Model(), KEY, (X,), {}, show_repeated=True)
    assert [row.path for row in rows[1:]] == [("Block_0",), ("Block_0", "Dense_0")] * 2
    assert rows[3].module_variables == rows[4].counted_variables == {}


def test_a_method_that_calls_another_of_its_module_is_one_call():
    class Two(nn.Module):
        def __call__(self, x):
            return self.inner(x)

        def inner(self, x):
            return x

    (row,) = make_rows(Two(), KEY, (X,), {})
    assert row.method == "__call__"


def test_arguments_are_one_tree():
    class Anything(nn.Module):
        def __call__(self, *args, **kwargs):
            return args

    def inputs(*args, **kwargs):
        return make_rows(Anything(), KEY, args, kwargs)[0].inputs

    spec = ArraySpec(X.shape, X.dtype)
    assert inputs(X) == spec
    assert inputs(X, None) == [spec, None]
    assert inputs(x=X) == {"x": spec}
    assert inputs(X, flag=True) == [spec, {"flag": True}]
    assert inputs() == []


def test_modules_among_arguments_and_in_rows_are_unbound():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Inner()(x, nn.Dense(2, name="given"))

    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x, dense):
            return dense(x)

    rows = make_rows(Outer(), KEY, (X,), {})
    assert all(row.module_copy.scope is None for row in rows)
    assert rows[1].inputs[1].scope is None


def test_flops_are_counted_on_request():
    (row,) = make_rows(nn.Dense(2), KEY, (X,), {})
    assert (row.flops, row.vjp_flops) == (-1, -1)
    (row,) = make_rows(nn.Dense(2), KEY, (X,), {}, flops=True, vjp_flops=True)
    assert 0 < row.flops < row.vjp_flops


def test_mutable_selects_the_collections():
    class Sown(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("extra", "x", x)

    (row,) = make_rows(Sown(), KEY, (X,), {}, mutable="extra")
    assert set(row.module_variables) == {"extra"}
    (row,) = make_rows(Sown(), KEY, (X,), {}, mutable="params")
    assert row.module_variables == {}


def test_a_failing_module_leaves_no_recorder():
    class Broken(nn.Module):
        def __call__(self, x):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        make_rows(Broken(), KEY, (X,), {})
    assert not context.recorders
    assert not context.hooked


def test_rows_are_data():
    row_fields = [field.name for field in dataclasses.fields(Row)]
    assert row_fields[:5] == ["path", "module_copy", "method", "inputs", "outputs"]
    row = Row((), Model(), "__call__", None, None, {}, {"params": {"w": X}})
    assert row.module_type is Model  # the field that 0.6.9 has instead
    assert row.size_and_bytes(["params", "cache"]) == {
        "params": (144, 576),
        "cache": (0, 0),
    }


def test_costs_of_a_class_that_names_its_fields_itself():
    class Own(nn.Module):
        preserve_adopted_names = False
        shared: nn.Module

        @nn.compact
        def __call__(self, x):
            return self.shared(x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            shared = nn.Dense(2, name="mine")
            return shared(x), Own(shared)(x)

    rows = make_rows(Model(), jax.random.key(0), (jnp.ones((1, 2)),), {}, flops=True)
    costs = {row.module_type.__name__: row.flops for row in rows}
    assert costs["Own"] == costs["Dense"] > 0

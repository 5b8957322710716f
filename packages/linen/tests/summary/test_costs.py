"""Tests of batiste.linen.summary.costs."""

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.linen.summary.costs import call_flops, call_vjp_flops, split_leaves

KEY = jax.random.key(0)
X = jnp.ones((16, 3))
DENSE = nn.Dense(2, use_bias=False)
PRODUCT = 2 * 16 * 3 * 2


def shapes_of(module, *args, **kwargs):
    return jax.eval_shape(lambda: module.init(KEY, *args, **kwargs))


def test_a_product_costs_two_operations_per_term():
    assert call_flops(DENSE, "__call__", shapes_of(DENSE, X), {}, (X,), {}) == PRODUCT


def test_shapes_suffice():
    x = jax.ShapeDtypeStruct(X.shape, X.dtype)
    cost = (DENSE, "__call__", shapes_of(DENSE, X), {}, (x,), {})
    assert call_flops(*cost) == PRODUCT
    # The product, and the gradients of both of its operands. The kernel is an output,
    # too, whose gradient is added to the other.
    assert call_vjp_flops(*cost) == 3 * PRODUCT + 3 * 2


def test_any_method_with_static_and_keyword_arguments():
    class Model(nn.Module):
        def setup(self):
            self.dense = nn.Dense(2, use_bias=False)

        def encode(self, x, twice, *, scale):
            y = self.dense(x) * scale
            return self.dense(x) + y if twice else y

    model = Model()
    variables = shapes_of(model, X, False, scale=1.0, method="encode")

    def cost(twice):
        return call_flops(model, "encode", variables, {}, (X, twice), {"scale": 2.0})

    # As many elements are multiplied by the scale, and added.
    assert cost(False) == PRODUCT + 16 * 2
    assert cost(True) > cost(False)


@pytest.mark.parametrize("count", [call_flops, call_vjp_flops])
def test_random_streams_and_integers_have_no_gradient(count):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens, key):
            x = nn.Embed(5, 4)(tokens)
            x = nn.Dropout(0.5, deterministic=False)(x)
            return x + jax.random.uniform(key, x.shape), tokens

    rngs = {"params": KEY, "dropout": KEY}
    args = (jnp.arange(3), KEY)
    variables = jax.eval_shape(lambda: Model().init(rngs, *args))
    assert count(Model(), "__call__", variables, rngs, args, {}) > 0


def test_split_leaves_puts_others_in_their_places():
    tree = {"a": [1, "x"], "b": (2, None)}
    leaves, rebuild = split_leaves(tree, lambda leaf: isinstance(leaf, int))
    assert leaves == [1, 2]
    assert rebuild([3, 4]) == {"a": [3, "x"], "b": (4, None)}
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        rebuild([3])


def test_split_leaves_takes_what_is_said_to_be_a_leaf():
    leaves, rebuild = split_leaves(
        [None, (1,)], lambda x: x is None, lambda x: x is None
    )
    assert leaves == [None]
    assert rebuild([7]) == [7, (1,)]


def test_where_an_accelerator_tells_nothing_the_cpu_counts(monkeypatch):
    counted = jax.stages.Lowered.cost_analysis
    told = []

    def cost_analysis(lowered):
        told.append(None if not told else counted(lowered))
        return told[-1]

    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", cost_analysis)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    layer, x = nn.Dense(2, use_bias=False), jnp.ones((16, 3))
    variables = layer.init(jax.random.key(0), x)
    assert call_flops(layer, "__call__", variables, {}, (x,), {}) == 192
    assert len(told) == 2

"""The programs of the API page "Transformations"."""

from collections.abc import Sequence

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax import random

from batiste import linen as nn
from batiste.core import apply, init, lift


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


def test_vmap_with_parameters_of_their_own():
    BatchDense = nn.vmap(
        nn.Dense,
        in_axes=0,
        out_axes=0,
        variable_axes={"params": 0},
        split_rngs={"params": True},
    )
    x = random.normal(random.PRNGKey(1), (3, 4))
    y, variables = BatchDense(2).init_with_output(random.PRNGKey(0), x)
    params = variables["params"]
    assert shapes(params) == {"bias": (3, 2), "kernel": (3, 4, 2)}
    assert not np.array_equal(params["kernel"][0], params["kernel"][1])
    expected = jnp.einsum("bi,bio->bo", x, params["kernel"])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_vmap_with_shared_parameters():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(x)

    BatchFoo = nn.vmap(
        Foo,
        in_axes=0,
        out_axes=0,
        variable_axes={"params": None},
        split_rngs={"params": False},
    )
    x = random.normal(random.PRNGKey(1), (3, 4))
    variables = BatchFoo().init(random.PRNGKey(0), x)
    assert shapes(variables["params"]) == {"Dense_0": {"bias": (2,), "kernel": (4, 2)}}
    alone = Foo().init(random.PRNGKey(0), x[0])
    jax.tree.map(np.testing.assert_array_equal, variables, alone)
    np.testing.assert_allclose(
        BatchFoo().apply(variables, x), Foo().apply(variables, x), rtol=1e-5
    )


def test_scan_over_a_cells_class():
    class LSTM(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            batch_size = x.shape[0]
            ScanLSTMCell = nn.scan(
                nn.LSTMCell,
                variable_broadcast="params",
                split_rngs={"params": False},
                in_axes=1,
                out_axes=1,
            )
            carry = nn.LSTMCell.initialize_carry(
                jax.random.PRNGKey(0), (batch_size,), self.features
            )
            carry, x = ScanLSTMCell()(carry, x)
            return x

    x = jnp.ones((4, 12, 7))
    module = LSTM(features=32)
    y, variables = module.init_with_output(jax.random.PRNGKey(0), x)
    assert y.shape == (4, 12, 32)
    assert list(variables["params"]) == ["ScanLSTMCell_0"]
    # Step by step, with the same parameters.
    carry = nn.LSTMCell.initialize_carry(random.PRNGKey(0), (4,), 32)
    cell = {"params": variables["params"]["ScanLSTMCell_0"]}
    for t in range(12):
        carry, out = nn.LSTMCell().apply(cell, carry, x[:, t])
        np.testing.assert_allclose(y[:, t], out, rtol=1e-4, atol=1e-6)


def test_scan_over_a_function():
    class LSTM(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            batch_size = x.shape[0]
            cell = nn.LSTMCell()

            def body_fn(cell, carry, x):
                carry, y = cell(carry, x)
                return carry, y

            scan = nn.scan(
                body_fn,
                variable_broadcast="params",
                split_rngs={"params": False},
                in_axes=1,
                out_axes=1,
            )
            carry = nn.LSTMCell.initialize_carry(
                jax.random.PRNGKey(0), (batch_size,), self.features
            )
            carry, x = scan(cell, carry, x)
            return x

    x = random.normal(random.PRNGKey(1), (4, 12, 7))
    module = LSTM(features=32)
    variables = module.init(jax.random.PRNGKey(0), jnp.ones((4, 12, 7)))
    assert list(variables["params"]) == ["LSTMCell_0"]
    y = module.apply(variables, x)
    rnn = nn.RNN(nn.LSTMCell(), cell_size=32)
    # RNN names its cell after its field.
    same = {"params": {"cell": variables["params"]["LSTMCell_0"]}}
    np.testing.assert_allclose(y, rnn.apply(same, x), rtol=1e-5, atol=1e-6)


def test_scan_over_layers():
    class ResidualMLPBlock(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            h = nn.Dense(features=2)(x)
            h = nn.relu(h)
            return x + h, None

    class ResidualMLP(nn.Module):
        n_layers: int = 4

        @nn.compact
        def __call__(self, x):
            ScanMLP = nn.scan(
                ResidualMLPBlock,
                variable_axes={"params": 0},
                variable_broadcast=False,
                split_rngs={"params": True},
                length=self.n_layers,
            )
            x, _ = ScanMLP()(x, None)
            return x

    model = ResidualMLP(n_layers=4)
    x = jnp.ones((1, 2))
    variables = model.init(jax.random.PRNGKey(42), x)
    layers = variables["params"]["ScanResidualMLPBlock_0"]
    assert shapes(layers) == {"Dense_0": {"bias": (4, 2), "kernel": (4, 2, 2)}}
    expected = x
    for i in range(4):
        layer = jax.tree.map(lambda p, i=i: p[i], layers)
        expected, _ = ResidualMLPBlock().apply({"params": layer}, expected, None)
    np.testing.assert_allclose(model.apply(variables, x), expected, rtol=1e-5)


def test_checkpoint():
    class CheckpointedMLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            CheckpointDense = nn.checkpoint(nn.Dense)
            x = CheckpointDense(128)(x)
            x = nn.relu(x)
            return CheckpointDense(1)(x)

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(128, name="CheckpointDense_0")(x)
            x = nn.relu(x)
            return nn.Dense(1, name="CheckpointDense_1")(x)

    assert nn.remat is nn.checkpoint
    model = CheckpointedMLP()
    x = random.normal(random.PRNGKey(1), (2, 16))
    variables = model.init(jax.random.PRNGKey(0), jnp.ones((1, 16)))
    plain = MLP().init(jax.random.PRNGKey(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, plain)

    def loss(model):
        return jax.grad(lambda v: model.apply(v, x).sum())(variables)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        loss(model),
        loss(MLP()),
    )
    # Checkpointing is seen in the gradient's program.
    assert "remat" in str(jax.make_jaxpr(lambda v: model.apply(v, x))(variables))


def test_remat_scan():
    class BigModel(nn.Module):
        @nn.compact
        def __call__(self, x):
            DenseStack = nn.remat_scan(nn.Dense, lengths=(10, 10))
            return DenseStack(8, name="dense_stack")(x)

    x = jnp.ones((2, 8))
    y, variables = BigModel().init_with_output(random.PRNGKey(0), x)
    stack = variables["params"]["dense_stack"]
    assert shapes(stack) == {"bias": (10, 10, 8), "kernel": (10, 10, 8, 8)}
    expected = x
    for i in range(10):
        for j in range(10):
            expected = expected @ stack["kernel"][i, j] + stack["bias"][i, j]
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-6)


def test_map_variables():
    class CausalDense(nn.Module):
        features: int

        def apply_mask(self, variables):
            return (
                jax.tree_util.tree_map(jnp.triu, variables)
                if not self.is_initializing()
                else variables
            )

        def setup(self):
            _CausalDense = nn.map_variables(
                nn.Dense, "params", self.apply_mask, init=self.is_initializing()
            )
            self.dense = _CausalDense(features=self.features, use_bias=False)

        def __call__(self, x):
            return self.dense(x)

    module = CausalDense(features=5)
    x = random.normal(random.PRNGKey(1), (1, 5))
    variables = module.init(jax.random.PRNGKey(0), jnp.ones((1, 5)))
    kernel = variables["params"]["dense"]["kernel"]
    assert np.any(np.tril(kernel, -1))
    np.testing.assert_allclose(
        module.apply(variables, x), x @ np.triu(kernel), rtol=1e-5, atol=1e-6
    )


def test_jvp_of_a_module():
    class LearnScale(nn.Module):
        @nn.compact
        def __call__(self, x):
            # The page's `nn.initializers._init()` is a slip for an initializer.
            p = self.param("test", nn.initializers.ones_init(), ())
            return p * x

    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            scale = LearnScale()
            vars_t = jax.tree_util.tree_map(
                jnp.ones_like, scale.variables.get("params", {})
            )
            _, out_t = nn.jvp(
                lambda mdl, x: mdl(x),
                scale,
                (x,),
                (jnp.zeros_like(x),),
                variable_tangents={"params": vars_t},
            )
            return out_t

    x = jnp.array([1.0, 2.0, 3.0])
    variables = Foo().init(random.PRNGKey(0), x)
    assert shapes(variables["params"]) == {"LearnScale_0": {"test": ()}}
    # The tangent of p * x for a unit tangent of p is x.
    np.testing.assert_array_equal(Foo().apply(variables, x), x)


def test_jvp_of_a_scope():
    def learn_scale(scope, x):
        p = scope.param("scale", nn.initializers.zeros_init(), ())
        return p * x

    def f(scope, x):
        vars_t = jax.tree_util.tree_map(
            jnp.ones_like, scope.variables().get("params", {})
        )
        x, out_t = lift.jvp(
            learn_scale,
            scope,
            (x,),
            (jnp.zeros_like(x),),
            variable_tangents={"params": vars_t},
        )
        return out_t

    x = jnp.array([1.0, 2.0, 3.0])
    _, variables = init(f)(random.PRNGKey(0), x)
    np.testing.assert_array_equal(apply(f)(variables, x), x)


def test_vjp():
    class LearnScale(nn.Module):
        @nn.compact
        def __call__(self, x, y):
            p = self.param("scale", nn.initializers.zeros_init(), ())
            return p * x * y

    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x, y):
            z, bwd = nn.vjp(lambda mdl, x, y: mdl(x, y), LearnScale(), x, y)
            params_grad, x_grad, y_grad = bwd(jnp.ones(z.shape))
            return z, params_grad, x_grad, y_grad

    x, y = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0, 6.0])
    variables = {"params": {"LearnScale_0": {"scale": jnp.array(2.0)}}}
    initial = Foo().init(random.PRNGKey(0), x, y)
    assert shapes(initial) == shapes(variables)
    z, params_grad, x_grad, y_grad = Foo().apply(variables, x, y)
    np.testing.assert_array_equal(z, 2 * x * y)
    assert params_grad["params"]["scale"] == (x * y).sum()
    np.testing.assert_array_equal(x_grad, 2 * y)
    np.testing.assert_array_equal(y_grad, 2 * x)


def test_custom_vjp():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            def f(mdl, x):
                return mdl(x)

            def fwd(mdl, x):
                return nn.vjp(f, mdl, x)

            def bwd(vjp_fn, y_t):
                params_t, *inputs_t = vjp_fn(y_t)
                params_t = jax.tree_util.tree_map(jnp.sign, params_t)
                return (params_t, *inputs_t)

            sign_grad = nn.custom_vjp(f, forward_fn=fwd, backward_fn=bwd)
            return sign_grad(nn.Dense(1), x).reshape(())

    x = jnp.array([3.0, -0.5])
    variables = Foo().init(random.PRNGKey(0), x)
    grad = jax.grad(Foo().apply)(variables, x)
    dense = grad["params"]["Dense_0"]
    np.testing.assert_array_equal(dense["kernel"], [[1.0], [-1.0]])
    np.testing.assert_array_equal(dense["bias"], [1.0])


def test_while_loop():
    class WhileLoopExample(nn.Module):
        @nn.compact
        def __call__(self, x):
            def cond_fn(mdl, c):
                return mdl.variables["state"]["acc"] < 10

            def body_fn(mdl, c):
                acc = mdl.variable("state", "acc", lambda: jnp.array(0))
                acc.value += 1
                return nn.Dense(c.shape[-1])(c)

            c = x
            if self.is_mutable_collection("params"):
                return body_fn(self, c)
            return nn.while_loop(cond_fn, body_fn, self, c, carry_variables="state")

    x = jnp.ones((2, 2))
    initial_vars = WhileLoopExample().init(random.PRNGKey(0), x)
    assert initial_vars["state"]["acc"] == 1
    result, state = WhileLoopExample().apply(initial_vars, x, mutable=["state"])
    assert state["state"]["acc"] == 10
    expected = x
    for _ in range(9):
        expected = expected @ initial_vars["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(result, expected, rtol=1e-4)


def test_cond():
    class CondExample(nn.Module):
        @nn.compact
        def __call__(self, x, pred):
            self.variable("state", "true_count", lambda: 0)
            self.variable("state", "false_count", lambda: 0)

            def true_fn(mdl, x):
                mdl.variable("state", "true_count").value += 1
                return nn.Dense(2, name="dense")(x)

            def false_fn(mdl, x):
                mdl.variable("state", "false_count").value += 1
                return -nn.Dense(2, name="dense")(x)

            return nn.cond(pred, true_fn, false_fn, self, x)

    x = jnp.ones((1, 3))
    model = CondExample()
    y, variables = model.init_with_output(random.PRNGKey(0), x, True)
    assert shapes(variables["params"]) == {"dense": {"bias": (2,), "kernel": (3, 2)}}
    assert variables["state"] == {"true_count": 1, "false_count": 0}
    minus_y, state = model.apply(variables, x, False, mutable="state")
    assert state["state"] == {"true_count": 1, "false_count": 1}
    np.testing.assert_allclose(minus_y, -y, rtol=1e-6)


def test_switch():
    class SwitchExample(nn.Module):
        @nn.compact
        def __call__(self, x, index):
            self.variable("state", "a_count", lambda: 0)
            self.variable("state", "b_count", lambda: 0)
            self.variable("state", "c_count", lambda: 0)

            def a_fn(mdl, x):
                mdl.variable("state", "a_count").value += 1
                return nn.Dense(2, name="dense")(x)

            def b_fn(mdl, x):
                mdl.variable("state", "b_count").value += 1
                return -nn.Dense(2, name="dense")(x)

            def c_fn(mdl, x):
                mdl.variable("state", "c_count").value += 1
                return nn.Dense(2, name="dense")(x)

            return nn.switch(index, [a_fn, b_fn, c_fn], self, x)

    x = jnp.ones((1, 3))
    model = SwitchExample()
    a, variables = model.init_with_output(random.PRNGKey(0), x, 0)
    assert variables["state"] == {"a_count": 1, "b_count": 0, "c_count": 0}
    b, variables_b = model.apply(variables, x, 1, mutable="state")
    assert variables_b["state"] == {"a_count": 1, "b_count": 1, "c_count": 0}
    np.testing.assert_allclose(b, -a, rtol=1e-6)
    _, variables_c = model.apply(variables, x, 2, mutable="state")
    assert variables_c["state"] == {"a_count": 1, "b_count": 0, "c_count": 1}


@pytest.mark.parametrize("index", [0, 1, 2])
def test_switch_between_heads_of_their_own(index):
    class MultiHeadSwitchExample(nn.Module):
        def setup(self) -> None:
            self.heads: Sequence[nn.Module] = [
                nn.Sequential([nn.Dense(10), nn.Dense(7), nn.Dense(5)]),
                nn.Sequential([nn.Dense(11), nn.Dense(5)]),
                nn.Dense(5),
            ]

        @nn.compact
        def __call__(self, x, index):
            def head_fn(i):
                return lambda mdl, x: mdl.heads[i](x)

            branches = [head_fn(i) for i in range(len(self.heads))]
            if self.is_mutable_collection("params"):
                for branch in branches:
                    _ = branch(self, x)
            return nn.switch(index, branches, self, x)

    x = random.normal(random.PRNGKey(1), (2, 3))
    model = MultiHeadSwitchExample()
    variables = model.init(random.PRNGKey(0), x, 0)
    assert shapes(variables["params"]) == {
        "heads_0": {
            "layers_0": {"bias": (10,), "kernel": (3, 10)},
            "layers_1": {"bias": (7,), "kernel": (10, 7)},
            "layers_2": {"bias": (5,), "kernel": (7, 5)},
        },
        "heads_1": {
            "layers_0": {"bias": (11,), "kernel": (3, 11)},
            "layers_1": {"bias": (5,), "kernel": (11, 5)},
        },
        "heads_2": {"bias": (5,), "kernel": (3, 5)},
    }
    alone = model.apply(variables, x, method=lambda mdl, x: mdl.heads[index](x))
    np.testing.assert_allclose(model.apply(variables, x, index), alone, rtol=1e-5)

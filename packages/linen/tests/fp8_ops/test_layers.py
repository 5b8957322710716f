"""The modules, in the place of `lax.dot_general` and `jnp.einsum`."""

import warnings

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import errors
from batiste.core.frozen_dict import unfreeze

KEY = jax.random.key(0)
MATRIX = (((1,), (0,)), ((), ()))
OPS = [nn.Fp8DotGeneralOp, nn.Fp8DirectDotGeneralOp, nn.NANOOFp8DotGeneralOp]
STATISTICS = "_overwrite_with_gradient"
X = jnp.asarray(np.random.default_rng(0).integers(-3, 4, (2, 3)), jnp.float32)
W = jnp.asarray(np.random.default_rng(1).integers(-3, 4, (3, 4)), jnp.float32)
quiet = pytest.mark.filterwarnings("ignore:Fp8DotGeneralOp:DeprecationWarning")


def shapes(length):
    names = ("input", "kernel", "output_grad")
    scales = {f"{name}_scale": (1,) for name in names}
    return scales | {f"{name}_amax_history": (length,) for name in names}


@quiet
@pytest.mark.parametrize("op", OPS)
def test_statistics_of_a_layer(op):
    layer = nn.Dense(4, dot_general_cls=op)
    variables = unfreeze(layer.init(KEY, X))
    found = variables[STATISTICS][f"{op.__name__}_0"]
    assert jax.tree.map(jnp.shape, found) == shapes(1024)
    assert {name: float(value[0]) for name, value in found.items()} == {
        name: float(name.endswith("_scale")) for name in found
    }
    assert all(value.dtype == jnp.float32 for value in found.values())
    plain = nn.Dense(4).init(KEY, X)["params"]
    assert np.array_equal(plain["kernel"], variables["params"]["kernel"])
    with pytest.raises(errors.ScopeCollectionNotFound):
        layer.apply({"params": plain}, X)


@quiet
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_small_integers_are_exact(op, wrap):
    module = op(amax_history_length=2)
    y, variables = module.init_with_output(KEY, X, W, MATRIX)
    assert np.array_equal(y, X @ W)
    assert jax.tree.map(jnp.shape, unfreeze(variables)) == {STATISTICS: shapes(2)}

    @wrap
    def grads(variables, x, w):
        def loss(*args):
            return 5.0 * module.apply(*args, MATRIX, precision="high").sum()

        return jax.grad(loss, argnums=(0, 1, 2))(variables, x, w)

    kept, of_x, of_w = grads(variables, X, W)
    assert np.array_equal(of_x, 5.0 * jnp.ones((2, 4)) @ W.T)
    assert np.array_equal(of_w, 5.0 * X.T @ jnp.ones((2, 4)))
    kept = {name: value.tolist() for name, value in kept[STATISTICS].items()}
    assert kept["input_amax_history"] == [float(jnp.abs(X).max()), 0.0]
    assert kept["kernel_amax_history"] == [float(jnp.abs(W).max()), 0.0]
    assert kept["output_grad_amax_history"] == [5.0, 0.0]


@quiet
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_dtype_is_that_of_the_right_factor(op, dtype):
    y, _ = op().init_with_output(KEY, X, W.astype(dtype), MATRIX)
    assert y.dtype == dtype
    y, _ = nn.Fp8Einsum().init_with_output(KEY, "ab,bc->ac", X, W.astype(dtype))
    assert y.dtype == dtype


@quiet
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("args", [(X,), (X, W), (X, W, MATRIX, None)])
def test_wrong_arguments(op, args):
    error = f"{op.__name__}.*called with {len(args)} positional.*`lhs, rhs, dim"
    with pytest.raises(TypeError, match=error):
        op().init(KEY, *args)


@pytest.mark.parametrize(
    "equation", ["ab,bc->ac", "ab,bc->ca", "...b,bc->...c", "ab,bc->"]
)
def test_einsum(equation):
    module = nn.Fp8Einsum(amax_history_length=2)
    y, variables = module.init_with_output(KEY, equation, X, W)
    assert np.array_equal(y, jnp.einsum(equation, X, W))
    assert jax.tree.map(jnp.shape, unfreeze(variables)) == {STATISTICS: shapes(2)}
    narrow = module.apply(variables, equation, X, W, None, jnp.bfloat16)
    assert narrow.dtype == jnp.bfloat16
    with pytest.warns(UserWarning, match="precision"):
        module.apply(variables, equation, X, W, "high")


def test_only_the_superseded_class_warns():
    with pytest.warns(DeprecationWarning, match="use Fp8DirectDotGeneralOp, or Fp8E"):
        nn.Fp8DotGeneralOp()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.NANOOFp8DotGeneralOp()
        type("Mine", (nn.Fp8DotGeneralOp,), {})()
        nn.Fp8DotGeneral()


def test_names():
    assert nn.Fp8DotGeneral is nn.Fp8DirectDotGeneralOp is nn.fp8_ops.Fp8DotGeneral
    assert nn.NANOOFp8DotGeneralOp.e4m3_dtype == jnp.float8_e4m3fnuz
    assert nn.fp8_ops.OVERWRITE_WITH_GRADIENT == STATISTICS


def test_statistics_under_scan_and_vmap():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(3, dot_general_cls=nn.Fp8DotGeneral)(x), None

    axes, split = {"params": 0, STATISTICS: 0}, {"params": True}
    for lifted in (
        nn.scan(Block, variable_axes=axes, split_rngs=split, length=5),
        nn.vmap(
            Block,
            variable_axes=axes,
            split_rngs=split,
            in_axes=(None, None),
            axis_size=5,
        ),
    ):
        module = lifted()
        variables = module.init(KEY, X, None)
        assert {value.shape[0] for value in jax.tree.leaves(variables)} == {5}
        grads = jax.grad(lambda v, m=module: m.apply(v, X, None)[0].sum())(variables)
        history = jax.tree.leaves(grads[STATISTICS])[0]
        assert history.shape == (5, 1024)
        assert np.all(history[:, 0] > 0)

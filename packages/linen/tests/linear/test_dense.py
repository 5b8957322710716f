"""Dense and DenseGeneral."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import errors
from batiste.linen import linear
from batiste.linen.linear import Dense, DenseGeneral

KEY = jax.random.key(0)
normal = jax.nn.initializers.normal(1.0)


def x_of(*shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(1), shape).astype(dtype)


def primitives(layer, x):
    variables = layer.init(KEY, x)
    return [e.primitive.name for e in jax.make_jaxpr(layer.apply)(variables, x).eqns]


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4), (0, 4)])
def test_dense(shape):
    x = x_of(*shape)
    y, variables = Dense(3, bias_init=normal).init_with_output(KEY, x)
    params = variables["params"]
    assert y.shape == (*shape[:-1], 3)
    np.testing.assert_allclose(y, x @ params["kernel"] + params["bias"], rtol=1e-5)


def test_dense_without_bias():
    y, variables = Dense(3, use_bias=False).init_with_output(KEY, x_of(2, 4))
    assert set(variables["params"]) == {"kernel"}


@pytest.mark.parametrize(
    ("dtype", "param_dtype", "input_dtype", "expected"),
    [
        (None, jnp.float32, jnp.bfloat16, jnp.float32),
        (None, jnp.bfloat16, jnp.bfloat16, jnp.bfloat16),
        (None, jnp.float16, jnp.int32, jnp.float16),
        (None, jnp.complex64, jnp.float32, jnp.complex64),
        (jnp.bfloat16, jnp.float32, jnp.float32, jnp.bfloat16),
    ],
)
def test_dense_dtypes(dtype, param_dtype, input_dtype, expected):
    layer = Dense(3, dtype=dtype, param_dtype=param_dtype)
    y, variables = layer.init_with_output(KEY, x_of(2, 4, dtype=input_dtype))
    assert y.dtype == expected
    assert {p.dtype for p in variables["params"].values()} == {jnp.dtype(param_dtype)}


@pytest.fixture
def wide():
    """Lets arrays be of 64 bits."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def test_dense_float64(wide):
    y, variables = Dense(3).init_with_output(KEY, np.ones((2, 4)))
    assert y.dtype == jnp.float64
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_dense_has_the_equations_that_a_person_writes():
    assert primitives(Dense(3), x_of(2, 4)) == ["dot_general", "reshape", "add"]
    assert primitives(Dense(3), x_of(4)) == ["dot_general", "add"]
    assert primitives(Dense(3, use_bias=False), x_of(2, 4)) == ["dot_general"]
    general = DenseGeneral((3, 2), axis=(1, 2))
    assert primitives(general, x_of(2, 4, 5)) == ["dot_general", "reshape", "add"]


@pytest.mark.parametrize("layer", [Dense, DenseGeneral])
def test_injected_dot_general(layer):
    calls = []

    def dot_general(*args, **kwargs):
        calls.append(kwargs)
        return lax.dot_general(*args, **kwargs)

    plain = layer(3, precision="highest")
    x = x_of(2, 4)
    variables = plain.init(KEY, x)
    for fields in (
        {"dot_general": dot_general},
        {"dot_general_cls": lambda: dot_general},
    ):
        y = plain.clone(**fields).apply(variables, x)
        assert y.tolist() == plain.apply(variables, x).tolist()
    assert calls == [{"precision": "highest"}] * 2


def test_dot_general_cls_may_be_a_module():
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, *args, **kwargs):
            scale = self.param("scale", jax.nn.initializers.ones, ())
            return scale * lax.dot_general(*args, **kwargs)

    variables = Dense(3, dot_general_cls=Scaled).init(KEY, x_of(2, 4))
    assert set(variables["params"]) == {"kernel", "bias", "Scaled_0"}


def test_injected_promotion():
    def keep(*args, dtype=None, inexact=True):
        return list(args)

    layer = Dense(3, promote_dtype=keep, use_bias=False, param_dtype=jnp.bfloat16)
    y, _ = layer.init_with_output(KEY, x_of(2, 4, dtype=jnp.bfloat16))
    assert y.dtype == jnp.bfloat16


def test_dense_errors():
    with pytest.raises(ValueError, match=r"Dense: the input is a scalar.*\(\.\.\., in"):
        Dense(3).init(KEY, 1.0)
    variables = Dense(3).init(KEY, x_of(2, 4))
    with pytest.raises(errors.ScopeParamShapeError, match="kernel"):
        Dense(3).apply(variables, x_of(2, 5))


def drawn_by_numpy(key, shape, dtype):
    """An initializer without anything to compile for each shape."""
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), dtype)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_dense_general(data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    n_batch = data.draw(st.integers(0, len(shape) - 1))
    free = st.sampled_from(range(n_batch, len(shape)))
    axes = data.draw(st.lists(free, min_size=1, unique=True))
    features = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    layer = DenseGeneral(
        tuple(features),
        axis=tuple(a - len(shape) if data.draw(st.booleans()) else a for a in axes),
        batch_dims=tuple(range(n_batch)),
        kernel_init=drawn_by_numpy,
        bias_init=drawn_by_numpy,
    )
    x = drawn_by_numpy(KEY, shape, jnp.float32)
    y, variables = layer.init_with_output(KEY, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert bias.shape == (*shape[:n_batch], *features)

    letters = "abcd"[: len(shape)]
    summed = "".join(letters[a] for a in sorted(axes))
    new = "xy"[: len(features)]
    kept = "".join(c for c in letters if c not in summed)
    equation = f"{letters},{letters[:n_batch]}{summed}{new}->{kept}{new}"
    ones = (1,) * (len(kept) - n_batch)
    bias = np.reshape(bias, (*shape[:n_batch], *ones, *features))
    expected = np.einsum(equation, x, kernel) + bias
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_dense_general_draws_its_kernel_as_a_matrix():
    drawn = []

    def init(key, shape, dtype):
        drawn.append(shape)
        return normal(key, shape, dtype)

    layer = DenseGeneral((3, 2), axis=(1, 2), kernel_init=init, bias_init=init)
    layer.init(KEY, x_of(2, 4, 5))
    assert set(drawn) == {(20, 6), (6,)}


def test_dense_general_with_boxed_parameters():
    init = nn.with_partitioning(normal, ("in", "a", "b"))
    variables = DenseGeneral((3, 2), kernel_init=init).init(KEY, x_of(2, 4))
    kernel = variables["params"]["kernel"]
    assert kernel.names == ("in", "a", "b")
    assert kernel.value.shape == (4, 3, 2)


def test_dense_general_with_boxed_parameters_under_a_mesh():
    init = nn.with_logical_partitioning(normal, ("in", "a", "b"))
    layer, x = DenseGeneral((3, 2), kernel_init=init), x_of(2, 4)
    rules = (("in", "data"), ("a", None), ("b", "model"))
    plain = layer.init(KEY, x)
    with jax.make_mesh((1, 1), ("data", "model")), nn.logical_axis_rules(rules):
        variables = jax.jit(layer.init)(KEY, x)
        y = jax.jit(layer.apply)(variables, x)
    assert variables["params"]["kernel"].names == ("in", "a", "b")
    np.testing.assert_array_equal(y, layer.apply(plain, x))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_dims": (1,)}, r"'d': batch_dims \(1,\) are not the first axes"),
        ({"axis": 3}, r"'d': axis 3 is out of range for an input of shape \(2, 3, 4\)"),
        ({"axis": (-1, 2)}, r"'d': axis=\(-1, 2\) .* more than once"),
        ({"axis": (0, 2), "batch_dims": (0,)}, r"batch_dims=\(0,\) .* more than once"),
    ],
)
def test_dense_general_errors(fields, message):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return DenseGeneral(3, name="d", **fields)(x)

    with pytest.raises(ValueError, match=message):
        Model().init(KEY, x_of(2, 3, 4))


def test_the_other_linear_layers_are_found_here_too():
    names = ("Conv", "ConvLocal", "ConvTranspose", "Einsum", "Embed")
    assert all(getattr(linear, name) is getattr(nn, name) for name in names)
    assert linear.canonicalize_padding(1, 1) == [(1, 1)]

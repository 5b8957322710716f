"""Tests of batiste.core.nn.linear."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste.core import apply, init, nn

KEY = jax.random.key(0)


def shapes(variables):
    return {name: value.shape for name, value in variables["params"].items()}


def test_dense_computes_an_affine_map():
    x = jnp.arange(6.0).reshape(2, 3)
    y, variables = init(nn.dense)(KEY, x, features=4)
    assert shapes(variables) == {"kernel": (3, 4), "bias": (4,)}
    params = {"kernel": variables["params"]["kernel"], "bias": jnp.arange(4.0)}
    y = apply(nn.dense)({"params": params}, x, features=4)
    np.testing.assert_allclose(
        y, x @ params["kernel"] + params["bias"], rtol=1e-5, atol=1e-5
    )


def test_dense_has_only_the_equations_of_hand_written_code():
    x = jnp.ones((2, 3))
    _, variables = init(nn.dense)(KEY, x, features=4)
    jaxpr = jax.make_jaxpr(lambda v, x: apply(nn.dense)(v, x, features=4))(variables, x)
    names = [eqn.primitive.name for eqn in jaxpr.eqns]
    assert names == ["dot_general", "broadcast_in_dim", "add"] or names == [
        "dot_general",
        "reshape",
        "add",
    ]


def test_dense_without_batch_axes_and_with_empty_ones():
    _, variables = init(nn.dense)(KEY, jnp.ones(3), features=4)
    assert apply(nn.dense)(variables, jnp.ones(3), features=4).shape == (4,)
    assert apply(nn.dense)(variables, jnp.ones((0, 3)), features=4).shape == (0, 4)


def test_dense_computes_in_dtype_and_keeps_parameters_in_float32():
    y, variables = init(nn.dense)(KEY, jnp.ones(3), features=4, dtype=jnp.bfloat16)
    assert y.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


def test_dense_refuses_a_scalar():
    with pytest.raises(ValueError, match='dense in "/" is a scalar'):
        init(nn.dense)(KEY, 1.0, features=4)


@settings(max_examples=12, deadline=None)
@given(data=st.data(), ndim=st.integers(1, 4))
def test_dense_general_equals_einsum(data, ndim):
    shape = tuple(data.draw(st.integers(0, 3)) for _ in range(ndim))
    n_batch = data.draw(st.integers(0, ndim - 1))
    rest = list(range(n_batch, ndim))
    axis = data.draw(st.permutations(rest).flatmap(lambda p: st.just(p[:2])))
    features = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y, variables = jax.jit(
        lambda: init(nn.dense_general)(
            KEY,
            x,
            features=features,
            axis=[ax - ndim if ax % 2 else ax for ax in axis],
            batch_dims=range(n_batch),
            kernel_init=jax.nn.initializers.normal(1.0),
            bias_init=jax.nn.initializers.normal(1.0),
        )
    )()
    letters = "abcd"[:ndim]
    kept = [letters[ax] for ax in range(ndim) if ax not in axis]
    kernel_axes = letters[:n_batch] + "".join(letters[ax] for ax in axis)
    out_features = "yz"[: len(features)]
    kernel = np.asarray(variables["params"]["kernel"])
    bias = np.asarray(variables["params"]["bias"])
    expected = np.einsum(
        f"{letters},{kernel_axes}{out_features}->{''.join(kept)}{out_features}",
        x,
        kernel,
    )
    extra = len(kept) - n_batch
    full = bias.shape[:n_batch] + (1,) * extra + bias.shape[n_batch:]
    np.testing.assert_allclose(y, expected + bias.reshape(full), rtol=1e-4, atol=1e-4)


def test_dense_general_initializes_with_the_fans_of_one_matrix():
    seen = []

    def spy(key, shape, dtype):
        seen.append(shape)
        return jnp.zeros(shape, dtype)

    nn_args = dict(features=(3, 2), axis=(-1,), batch_dims=(0,))
    init(nn.dense_general)(
        KEY, jnp.ones((5, 7, 4)), kernel_init=spy, bias_init=spy, **nn_args
    )
    assert seen == [(4, 6), (6,)]


def test_dense_general_accepts_an_initializer_that_cannot_be_hashed():
    class Unhashable:
        def __eq__(self, other):
            return self is other

        def __call__(self, key, shape, dtype):
            return jnp.ones(shape, dtype)

    y, _ = init(nn.dense_general)(KEY, jnp.ones((2, 3)), 4, kernel_init=Unhashable())
    assert y.tolist() == [[3.0] * 4] * 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(axis=5), r"Axes \(5,\) do not name distinct axes"),
        (dict(axis=(1, -1)), r"Axes \(1, -1\) do not name distinct axes"),
        (dict(batch_dims=(1,)), r"batch_dims \(1,\) in .* are not the first axes"),
        (dict(axis=0, batch_dims=(0,)), "do not name distinct axes"),
    ],
)
def test_dense_general_refuses_bad_axes(kwargs, message):
    with pytest.raises(ValueError, match=message):
        init(nn.dense_general)(KEY, jnp.ones((2, 3)), features=4, **kwargs)


def test_conv_with_a_kernel_of_size_one_is_dense():
    x = jnp.arange(24.0).reshape(2, 4, 3)
    y, variables = init(nn.conv)(KEY, x, features=5, kernel_size=1)
    assert shapes(variables) == {"kernel": (1, 3, 5), "bias": (5,)}
    expected = x @ variables["params"]["kernel"][0]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "shape"),
    [
        (dict(), (2, 8, 6, 4)),
        (dict(strides=(2, 1)), (2, 4, 6, 4)),
        (dict(padding="VALID"), (2, 6, 5, 4)),
        (dict(padding=((1, 0), (2, 2))), (2, 7, 9, 4)),
        (dict(kernel_dilation=(2, 1), padding="VALID"), (2, 4, 5, 4)),
        (dict(input_dilation=(2, 1), padding=((0, 0), (0, 0))), (2, 13, 5, 4)),
    ],
)
def test_conv_shapes(kwargs, shape):
    x = jnp.ones((2, 8, 6, 4))
    run = functools.partial(init(nn.conv), features=4, kernel_size=(3, 2), **kwargs)
    y, _ = jax.eval_shape(run, KEY, x)
    assert y.shape == shape


def test_conv_splits_channels_into_groups():
    x = jnp.ones((2, 8, 6))
    _, variables = init(nn.conv)(KEY, x, 4, kernel_size=(3,), feature_group_count=2)
    assert variables["params"]["kernel"].shape == (3, 3, 4)


def test_conv_refuses_groups_that_do_not_divide_the_features():
    with pytest.raises(ValueError, match='in "/" cannot split the 6 features'):
        init(nn.conv)(KEY, jnp.ones((2, 8, 6)), 4, (3,), feature_group_count=4)


@pytest.mark.parametrize("layer", [nn.conv, nn.conv_transpose])
def test_convolutions_refuse_an_input_of_another_rank(layer):
    with pytest.raises(ValueError, match=r"spatial axes, \(3,\), and needs an input"):
        init(layer)(KEY, jnp.ones((8, 6)), 4, (3,))


def test_conv_transpose_shapes():
    x = jnp.ones((2, 4, 3))
    for strides, padding, n in (
        ((2,), "SAME", 8),
        ((2,), "VALID", 9),
        (None, "SAME", 4),
    ):
        run = functools.partial(
            init(nn.conv_transpose),
            features=5,
            kernel_size=(3,),
            strides=strides,
            padding=padding,
        )
        y, variables = jax.eval_shape(run, KEY, x)
        assert y.shape == (2, n, 5)
        assert shapes(variables) == {"kernel": (3, 3, 5), "bias": (5,)}


def test_embedding_looks_up_and_attends():
    def model(scope, indices):
        table = nn.embedding(scope, 7, 4)
        vectors = table.lookup(indices)
        return vectors, table.attend(vectors)

    (vectors, scores), variables = init(model)(KEY, jnp.array([[0, 6]]))
    table = variables["params"]["table"]
    np.testing.assert_array_equal(vectors, table[jnp.array([[0, 6]])])
    np.testing.assert_allclose(scores, vectors @ table.T, rtol=1e-5)


def test_embedding_refuses_indices_that_are_not_integers():
    with pytest.raises(ValueError, match="indices of an integer type.*float32"):
        nn.Embedding(jnp.eye(3)).lookup(jnp.ones(2))


@pytest.mark.parametrize(
    ("layer", "x", "arguments"),
    [
        (nn.dense, jnp.ones((2, 3)), {"features": 4}),
        (nn.dense_general, jnp.ones((2, 3, 4)), {"features": 4, "axis": (1, 2)}),
        (nn.conv, jnp.ones((2, 5, 3)), {"features": 4, "kernel_size": (3,)}),
        (nn.conv_transpose, jnp.ones((2, 5, 3)), {"features": 4, "kernel_size": (3,)}),
    ],
    ids=["dense", "dense general", "conv", "conv transpose"],
)
def test_a_bias_is_optional(layer, x, arguments):
    with_bias, variables = init(layer)(KEY, x, **arguments)
    y, without = init(layer)(KEY, x, **arguments, bias=False)
    assert set(variables["params"]) == {"kernel", "bias"}
    assert set(without["params"]) == {"kernel"}
    # It starts as nought, and another number of parameters changes no kernel.
    np.testing.assert_array_equal(y, with_bias)

"""Replicating, prefetching, padding and scanning, on the devices of the suite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.training import jax_utils

D = jax.local_device_count()
# A device that only another test suite's setup leaves alone needs no second one.
many_devices = pytest.mark.skipif(D < 2, reason="needs several devices")


def test_replicate_and_unreplicate():
    tree = {"a": np.arange(3, dtype=np.float32), "b": 2, "k": jax.random.key(0)}
    copies = jax_utils.replicate(tree)
    assert copies["a"].shape == (D, 3)
    assert copies["b"].shape == (D,)
    assert len(copies["a"].addressable_shards) == D
    for shard, device in zip(
        copies["a"].addressable_shards, jax.local_devices(), strict=True
    ):
        assert shard.device == device
        assert shard.data.shape == (1, 3)
        np.testing.assert_array_equal(shard.data[0], tree["a"])
    one = jax_utils.unreplicate(copies)
    np.testing.assert_array_equal(one["a"], tree["a"])
    assert (one["k"] == tree["k"]).all()


@many_devices
def test_replicate_to_some_devices():
    devices = jax.devices()[:2][::-1]
    copies = jax_utils.replicate(1.0, devices, axis_name="copies")
    assert copies.shape == (2,)
    assert list(copies.sharding.mesh.axis_names) == ["copies"]
    assert [shard.device for shard in copies.addressable_shards] == devices


def test_replicated_values_go_through_pmap():
    state = jax_utils.replicate({"w": jnp.arange(2.0)})

    def step(state, x):
        return {"w": state["w"] + jax_utils.pmean({"x": x}, "batch")["x"]}

    after = jax.pmap(step, axis_name="batch")(state, jnp.arange(float(D)))
    mean = (D - 1) / 2
    np.testing.assert_allclose(after["w"], np.tile([mean, 1 + mean], (D, 1)))


@pytest.mark.parametrize("size", [1, 2, 10])
def test_prefetch_to_device_yields_everything_in_order(size):
    drawn = []

    def batches():
        for i in range(5):
            drawn.append(i)
            yield {"x": np.full((D, 2), i)}

    prefetched = jax_utils.prefetch_to_device(batches(), size)
    first = next(prefetched)
    assert len(drawn) == min(size, 5)
    assert first["x"].shape == (D, 2)
    assert len(first["x"].sharding.device_set) == D
    assert [int(b["x"][0, 0]) for b in prefetched] == [1, 2, 3, 4]


@many_devices
def test_prefetch_to_device_refuses_what_cannot_be_split():
    with pytest.raises(ValueError, match="size is 0"):
        jax_utils.prefetch_to_device(iter([]), 0)
    bad = jax_utils.prefetch_to_device(iter([{"x": np.zeros((D + 1, 2))}]), 2)
    with pytest.raises(ValueError, match=rf"\['x'\] has shape \({D + 1}, 2\)"):
        next(bad)
    some = jax_utils.prefetch_to_device([np.zeros((2, 3))], 1, jax.devices()[:2])
    assert len(next(some).sharding.device_set) == 2


def reference_scan(body, carry, x, axes, keepdims):
    """The loops that scan_in_dim stands for, in NumPy, for a body of equal shapes."""
    out = np.zeros_like(x)
    shape = [x.shape[a] for a in axes]
    for index in np.ndindex(*shape):
        where: list = [slice(None)] * x.ndim
        for a, i in zip(axes, index, strict=True):
            where[a] = slice(i, i + 1) if keepdims else i
        carry, y = body(carry, x[tuple(where)])
        out[tuple(where)] = y
    return carry, out


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 1), (1, 0), (2, 0), (0, 1, 2), ()])
def test_scan_in_dim_is_a_loop_over_the_axes(axis, keepdims):
    x = np.arange(24.0).reshape(2, 3, 4).astype(np.float32)
    axes = (axis,) if isinstance(axis, int) else axis

    def body(carry, x):
        return carry * 0.5 + x.sum(), x + carry

    carry, out = jax_utils.scan_in_dim(
        body, jnp.float32(1), jnp.asarray(x), axis=axis, keepdims=keepdims
    )
    want_carry, want = reference_scan(body, np.float32(1), x, axes, keepdims)
    np.testing.assert_allclose(carry, want_carry, rtol=1e-6)
    np.testing.assert_allclose(out, want, rtol=1e-6)


@pytest.mark.parametrize("unroll", [2, (2,), (1, 3)])
def test_scan_in_dim_unrolls_and_takes_trees(unroll):
    xs = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones((2, 3))}
    total, out = jax_utils.scan_in_dim(
        lambda c, x: (c + x["a"] * x["b"], {"o": c}),
        0.0,
        xs,
        axis=(0, 1),
        unroll=unroll,
    )
    assert float(total) == 15
    assert out["o"].tolist() == [[0, 0, 1], [3, 6, 10]]


def test_scan_in_dim_wants_one_unroll_for_each_axis():
    with pytest.raises(ValueError, match="unroll=.* has 2 numbers for the 3 axes"):
        jax_utils.scan_in_dim(
            lambda c, x: (c, x), 0, jnp.zeros((1, 1, 1)), axis=(0, 1, 2), unroll=(1, 2)
        )


def shapes_seen(seen):
    def function(params, *args, **kwargs):
        seen.append(jax.tree.map(np.shape, (params, args, kwargs)))
        return args[0] if args else kwargs["x"]

    return function


@pytest.mark.parametrize("n", [1, 3, D, D + 1, 3 * D])
def test_pad_shard_unpad_calls_with_full_shards(n):
    seen = []
    wrapped = jax_utils.pad_shard_unpad(shapes_seen(seen))
    x = np.arange(2 * n).reshape(n, 2)
    out = wrapped(np.ones(3), x, other=np.ones(n))
    per_device = -(-n // D)
    assert seen == [((3,), ((D, per_device, 2),), {"other": (D, per_device)})]
    assert type(out) is np.ndarray
    np.testing.assert_array_equal(out, x)


def test_pad_shard_unpad_pads_to_min_device_batch():
    seen = []
    wrapped = jax_utils.pad_shard_unpad(shapes_seen(seen))
    for n in (1, 4 * D, 5 * D):
        assert wrapped(0, np.ones((n, 2)), min_device_batch=4).shape == (n, 2)
    assert [s[1][0] for s in seen] == [(D, 4, 2), (D, 4, 2), (D, 5, 2)]


def test_pad_shard_unpad_pads_with_zeros_of_the_dtype():
    got = []
    wrapped = jax_utils.pad_shard_unpad(
        lambda p, x: got.append(x) or x, static_return=True
    )
    for array in (np.ones(1, bool), jnp.ones(1, jnp.bfloat16)):
        wrapped(0, array, min_device_batch=1)
        assert got[-1].dtype == array.dtype
        assert got[-1].astype(int).sum() == 1


def test_pad_shard_unpad_passes_static_arguments_and_results():
    seen = []
    wrapped = jax_utils.pad_shard_unpad(
        shapes_seen(seen),
        static_argnums=(0, 1),
        static_argnames="mode",
        static_return=True,
    )
    out = wrapped(1.0, {"m": np.ones(3)}, np.ones((1, 2)), mode="eval")
    assert out["m"].shape == (3,)
    assert seen == [((), ({"m": (3,)}, (D, 1, 2)), {"mode": ()})]


def test_pad_shard_unpad_on_pmap_evaluates_every_example_once():
    def eval_step(metrics, batch):
        correct = (batch["mask"] & (batch["label"] == 1)).sum()
        return {"correct": metrics["correct"] + jax.lax.psum(correct, "batch")}

    step = jax_utils.pad_shard_unpad(
        jax.pmap(eval_step, axis_name="batch", in_axes=(None, 0)), static_return=True
    )
    n = D + 3
    batch = {"mask": np.ones(n, bool), "label": np.ones(n, int)}
    out = step({"correct": 0}, batch, min_device_batch=4)
    assert out["correct"].tolist() == [n] * D


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (
            (1, {"a": np.ones(5), "b": np.ones(6)}),
            ValueError,
            r"5 in argument 1\['a'\]",
        ),
        ((1,), ValueError, "no array to pad"),
        ((1, 3), TypeError, "argument 1 is 3, which has no batch axis"),
    ],
)
def test_pad_shard_unpad_says_what_cannot_be_padded(args, error, message):
    with pytest.raises(error, match=message):
        jax_utils.pad_shard_unpad(lambda *args: args)(*args)


def test_pad_shard_unpad_says_when_the_result_is_no_batch():
    wrapped = jax_utils.pad_shard_unpad(lambda p, x: {"n": 3})
    with pytest.raises(TypeError, match=r"\['n'\].*static_return=True"):
        wrapped(1, np.ones(3))


def test_partial_eval_by_shape_returns_what_needs_no_values():
    out = jax_utils.partial_eval_by_shape(
        lambda x, n, k=1: {"s": x * n, "c": jnp.ones(2) * n, "k": k},
        [((2, 3), jnp.int32)],
        5,
        k=7,
    )
    assert out["s"] == jax.ShapeDtypeStruct((2, 3), jnp.int32)
    assert out["c"].tolist() == [5, 5]
    assert out["k"] == 7
    assert jax_utils.partial_eval_by_shape(lambda x: x, [(2, 3)]).dtype == jnp.float32

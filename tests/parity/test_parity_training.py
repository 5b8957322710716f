"""Training against the released flax, on generated inputs.

Where the released package is left behind on purpose: `keep_every_n_steps` counts step 0
like any other; `EarlyStopping.update` returns the pair of 0.6.9, and takes no NaN and
no infinity for an improvement; `keep` is at least 1; Orbax does not save an old step
unasked; lists of schedule changes are sorted; the value that `DynamicScale` returns is
that of the function, in its dtype, and does not overflow with the scale.
"""

import importlib
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste.core import freeze, unfreeze
from batiste.core.config import config
from batiste.training import (
    checkpoints,
    common_utils,
    dynamic_scale,
    early_stopping,
    jax_utils,
    lr_schedule,
    train_state,
)

# By name, as the type checker runs where flax is not installed.
flax: Any = importlib.import_module("flax")
theirs: Any = {
    name: importlib.import_module(f"flax.training.{name}")
    for name in (
        "checkpoints",
        "common_utils",
        "dynamic_scale",
        "early_stopping",
        "lr_schedule",
        "train_state",
    )
}
their_jax_utils: Any = importlib.import_module("flax.jax_utils")

many = settings(max_examples=100, deadline=None)
few = settings(max_examples=25, deadline=None)


@pytest.fixture(autouse=True)
def files_by_default():
    before = flax.config.flax_use_orbax_checkpointing
    flax.config.update("flax_use_orbax_checkpointing", False)
    yield
    flax.config.update("flax_use_orbax_checkpointing", before)


def same(ours: Any, theirs: Any):
    """Equal leaves, bit for bit, with equal dtypes."""
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


params = {
    "dense": {
        "kernel": jnp.linspace(-1, 1, 6).reshape(2, 3),
        "bias": jnp.ones(3, jnp.bfloat16),
    }
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    "tx",
    [optax.sgd(0.1, momentum=0.9), optax.adamw(0.1), optax.adafactor(0.1)],
    ids=["sgd", "adamw", "adafactor"],
)
def test_train_state_takes_the_same_steps(tx, frozen):
    ours = train_state.TrainState.create(
        apply_fn=None, params=freeze(params) if frozen else params, tx=tx
    )
    their = theirs["train_state"].TrainState.create(
        apply_fn=None,
        params=flax.core.freeze(params) if frozen else params,
        tx=tx,
    )
    for i in range(4):
        grads = jax.tree.map(lambda x, i=i: (x * (i + 1)).astype(x.dtype), params)
        ours = ours.apply_gradients(grads=freeze(grads) if frozen else grads)
        their = their.apply_gradients(
            grads=flax.core.freeze(grads) if frozen else grads
        )
        assert ours.step == their.step
        same(ours.params, their.params)
        same(ours.opt_state, their.opt_state)


numbers = st.floats(0.5, 50)


@many
@given(
    rate=st.floats(1e-4, 10),
    epoch=st.integers(1, 50),
    warmup=st.one_of(st.just(0.0), numbers),
    half=numbers,
    changes=st.lists(
        st.tuples(st.integers(2, 120).map(lambda n: n / 4), st.floats(0.001, 2)),
        max_size=4,
    ),
    steps=st.lists(st.integers(0, 300), min_size=1, max_size=9),
)
def test_schedules_are_bit_equal(rate, epoch, warmup, half, changes, steps):
    changes = sorted([list(c) for c in changes])
    pairs = [
        (getattr(lr_schedule, name), getattr(theirs["lr_schedule"], name), args)
        for name, args in (
            ("create_constant_learning_rate_schedule", ()),
            ("create_stepped_learning_rate_schedule", (changes,)),
            ("create_cosine_learning_rate_schedule", (half,)),
        )
    ]
    for ours, their, args in pairs:
        if not args or args[0]:
            f, g = (m(rate, epoch, *args, warmup) for m in (ours, their))
            for step in steps:
                same(f(step), g(step))


@many
@given(
    st.lists(st.one_of(st.integers(-5, 5), st.floats(-5, 5)), max_size=12),
    st.sampled_from([0, 0.5, 1e-3, 2]),
    st.integers(0, 3),
)
def test_early_stopping_stops_at_the_same_update(metrics, delta, patience):
    ours = early_stopping.EarlyStopping(min_delta=delta, patience=patience)
    their = theirs["early_stopping"].EarlyStopping(min_delta=delta, patience=patience)
    for metric in metrics:
        has_improved, ours = ours.update(metric)
        their = their.update(metric)
        assert has_improved == their.has_improved
        for name in ("best_metric", "patience_count", "should_stop", "has_improved"):
            assert getattr(ours, name) == getattr(their, name)


@few
@given(
    st.lists(st.sampled_from([1.0, 1e30, float("inf"), float("nan")]), max_size=8),
    st.integers(1, 3),
    st.sampled_from([1.0, 65536.0, 1e38]),
    st.sampled_from([jnp.float32, jnp.float16]),
)
def test_dynamic_scale_takes_the_same_steps(values, interval, scale, dtype):
    kwargs = {"growth_interval": interval, "scale": scale}
    ours = dynamic_scale.DynamicScale(**kwargs)
    their = theirs["dynamic_scale"].DynamicScale(**kwargs)
    for value in values:
        x = jnp.array([value, 1.0], dtype)
        got = ours.value_and_grad(lambda x: jnp.sum(x * x))(x)
        want = their.value_and_grad(lambda x: jnp.sum(x * x))(x)
        same((got.finite, got.grad), (want.finite, want.grad))
        if dtype == jnp.float32:
            same(got.aux, want.aux)
        ours, their = got.dynamic_scale, want.dynamic_scale
        same(ours, their)


@many
@given(
    st.lists(st.integers(-2, 6), min_size=1, max_size=6),
    st.floats(-2, 2, width=32),
    st.floats(-2, 2, width=32),
)
def test_onehot_is_bit_equal(labels, on, off):
    args = jnp.array(labels), 5, on, off
    same(common_utils.onehot(*args), theirs["common_utils"].onehot(*args))


@few
@given(
    shape=st.tuples(*[st.integers(1, 3)] * 3),
    axis=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
    keepdims=st.booleans(),
)
def test_scan_in_dim_is_bit_equal(shape, axis, keepdims):
    x = jax.random.normal(jax.random.key(0), shape)

    def body(carry, x):
        return carry * 0.7 + x.sum(), x + carry

    args = body, jnp.float32(1), x
    unroll = (1,) * len(axis)
    got, want = (
        module.scan_in_dim(*args, axis=tuple(axis), unroll=unroll, keepdims=keepdims)
        for module in (jax_utils, their_jax_utils)
    )
    same(got, want)


@few
@given(st.integers(1, 20), st.one_of(st.none(), st.integers(1, 5)))
def test_pad_shard_unpad_gives_the_same_shapes(n, least):
    x = np.arange(2.0 * n).reshape(n, 2)
    seen = []

    def wrapped(scale, x):
        seen.append(x.copy())
        return {"y": scale * x, "z": x.sum(-1)}

    results = [
        module.pad_shard_unpad(wrapped)(2.0, x, min_device_batch=least)
        for module in (jax_utils, their_jax_utils)
    ]
    same(*results)
    same(*seen)


names = st.from_regex(r"\A(Conv|Dense|my_block|head)(_[0-9]{1,2})?\Z")
pre_linen = st.recursive(
    st.integers(), lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=9
)


@many
@given(pre_linen)
def test_convert_pre_linen_is_equal(tree):
    got = checkpoints.convert_pre_linen(tree)
    want = theirs["checkpoints"].convert_pre_linen(tree)
    assert unfreeze(got) == flax.core.unfreeze(want)


@many
@given(st.lists(st.text("ab_-.0123", max_size=6)), st.booleans())
def test_natural_sort_is_equal_for_names_of_checkpoints(texts, signed):
    files = [f"checkpoint_{i * 7 % 13}" for i, _ in enumerate(texts)]
    files += [f"checkpoint_-{i}.5" for i, _ in enumerate(texts)]
    ours = checkpoints.natural_sort(files, signed)
    assert ours == theirs["checkpoints"].natural_sort(files, signed)


@few
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 12), st.sampled_from([0.5, 2.5, -1.0, 1e5])),
            st.integers(1, 3),
            st.sampled_from([None, 2, 5]),
            st.booleans(),
        ),
        max_size=10,
    )
)
def test_the_same_checkpoints_are_kept(tmp_path_factory, saves):
    folders = [str(tmp_path_factory.mktemp("x")) for _ in range(2)]
    for step, keep, every, overwrite in saves:
        outcomes = []
        for module, folder in zip(
            (checkpoints, theirs["checkpoints"]), folders, strict=True
        ):
            try:
                path = module.save_checkpoint(
                    folder,
                    {"w": np.arange(3), "s": {"n": str(step)}},
                    step,
                    keep=keep,
                    keep_every_n_steps=every,
                    overwrite=overwrite,
                )
                outcomes.append(os.path.relpath(path, folder))
            except Exception as error:
                outcomes.append(type(error).__name__)
        assert outcomes[0] == outcomes[1]
        assert sorted(os.listdir(folders[0])) == sorted(os.listdir(folders[1]))
    for name in os.listdir(folders[0]):
        contents = []
        for folder in folders:
            with open(os.path.join(folder, name), "rb") as file:
                contents.append(file.read())
        assert contents[0] == contents[1]


@pytest.mark.parametrize("orbax", [False, True])
def test_each_reads_the_checkpoints_of_the_other(tmp_path, orbax):
    tx = optax.adam(0.1)
    ours = train_state.TrainState.create(
        apply_fn=None, params=freeze(params), tx=tx
    ).apply_gradients(grads=freeze(params))
    their = theirs["train_state"].TrainState.create(
        apply_fn=None, params=flax.core.freeze(params), tx=tx
    )
    flax.config.update("flax_use_orbax_checkpointing", orbax)
    with config.temp_flip_flag("use_orbax_checkpointing", orbax):
        checkpoints.save_checkpoint(tmp_path / "ours", {"m": ours, "s": "text"}, 3)
        read = theirs["checkpoints"].restore_checkpoint(
            str(tmp_path / "ours"), {"m": their, "s": ""}
        )
        same(read["m"], ours)
        assert read["s"] == "text"
        theirs["checkpoints"].save_checkpoint(
            str(tmp_path / "theirs"), {"m": read["m"], "s": "text"}, 3
        )
        target = {"m": ours.replace(step=0), "s": ""}
        again = checkpoints.restore_checkpoint(tmp_path / "theirs", target)
        same(again["m"], ours)
        raw = checkpoints.restore_checkpoint(tmp_path / "theirs", None)
        want = theirs["checkpoints"].restore_checkpoint(str(tmp_path / "theirs"), None)
        assert raw["s"] == want["s"] == "text"
        same(raw["m"], want["m"])


def test_the_released_package_reads_and_prunes_folders_with_checks(tmp_path):
    tree = {"w": np.arange(1000.0), "s": "text"}
    for step in (1, 2, 3):
        checkpoints.save_checkpoint(tmp_path, tree, step, keep=9)
    released = theirs["checkpoints"]
    assert released.latest_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint_3")
    assert released.available_steps(str(tmp_path)) == [1, 2, 3]
    same(released.restore_checkpoint(str(tmp_path), tree)["w"], tree["w"])
    released.save_checkpoint(str(tmp_path), {"w": 1}, 4, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_3", "checkpoint_4"]
    # What it overwrites has no check that would be of the one before.
    released.save_checkpoint(str(tmp_path), {"w": 2}, 3, keep=2, overwrite=True)
    assert os.listdir(tmp_path) == ["checkpoint_3"]
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": 2}
    checkpoints.save_checkpoint(tmp_path, tree, 4)
    assert os.listdir(tmp_path) == ["checkpoint_4"]

"""The programs of the guide "Processing the entire Dataset"."""

import collections

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.training import jax_utils

D = 4
PER_DEVICE = 3
SIZE = 29


def batches(size, *, mask=False):
    """A small labelled data set in place of tfds.load('mnist', split='test')."""
    images = np.random.default_rng(0).normal(size=(SIZE, 2, 2, 1)).astype(np.float32)
    labels = np.arange(SIZE) % 5
    for start in range(0, SIZE, size):
        batch = {
            "image": images[start : start + size],
            "label": labels[start : start + size],
        }
        if mask:
            batch["mask"] = np.ones(len(batch["label"]), bool)
        yield batch


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(5)(x.reshape((x.shape[0], -1)))


@pytest.fixture
def devices(eight_devices):
    return eight_devices[:D]


@pytest.fixture
def model():
    model = Model()
    return model, model.init(jax.random.PRNGKey(0), jnp.ones((1, 2, 2, 1)))


def expected(model, variables):
    correct = 0
    for batch in batches(SIZE):
        preds = model.apply(variables, batch["image"])
        correct += int((batch["label"] == np.asarray(preds).argmax(axis=-1)).sum())
    return correct


def test_the_problem():
    shapes = collections.Counter(b["image"].shape for b in batches(8))
    assert shapes == {(8, 2, 2, 1): 3, (5, 2, 2, 1): 1}
    # What is left over after whole batches for all devices is lost.
    whole = [b for b in batches(8) if len(b["label"]) == 8]
    assert sum(len(b["label"]) for b in whole) == 24
    # Hosts that split 10000 examples six ways do not all get as many.
    sizes = [len(part) for part in np.array_split(np.arange(10000), 6)]
    assert sizes == [1667, 1667, 1667, 1667, 1666, 1666]


def test_padding_by_hand(devices, model):
    model, variables = model
    get_preds = jax.pmap(model.apply, in_axes=(None, 0), devices=devices)
    per_host_batch_size = D * PER_DEVICE

    # einops.rearrange, by reshape.
    def shard(x):
        return x.reshape((D, x.shape[0] // D) + x.shape[1:])

    def unshard(x):
        return x.reshape((-1,) + x.shape[2:])

    correct = total = 0
    for batch in batches(per_host_batch_size):
        images = batch["image"]
        n = len(images)
        padding = np.zeros([per_host_batch_size - n, *images.shape[1:]], images.dtype)
        padded_images = np.concatenate([images, padding])
        preds = unshard(get_preds(variables, shard(padded_images)))[:n]
        total += n
        correct += int((batch["label"] == preds.argmax(axis=-1)).sum())
    assert total == SIZE
    assert correct == expected(model, variables)


def test_pad_shard_unpad(model, eight_devices):
    model, variables = model
    get_preds = jax.pmap(model.apply, in_axes=(None, 0))
    shapes = []

    def watched(variables, images):
        shapes.append(images.shape)
        return get_preds(variables, images)

    correct = total = 0
    for batch in batches(16):
        preds = jax_utils.pad_shard_unpad(watched)(
            variables, batch["image"], min_device_batch=PER_DEVICE
        )
        assert preds.shape == (len(batch["image"]), 5)
        total += len(batch["image"])
        correct += int((batch["label"] == preds.argmax(axis=-1)).sum())
    assert total == SIZE
    assert correct == expected(model, variables)
    # All batches have one shape, so that nothing is compiled again.
    assert set(shapes) == {(jax.local_device_count(), PER_DEVICE, 2, 2, 1)}


def test_metrics_in_the_step(model, eight_devices):
    model, variables = model
    compiled = []

    def eval_step(metrics, variables, batch):
        compiled.append({k: v.shape for k, v in batch.items()})
        preds = model.apply(variables, batch["image"])
        right = batch["label"] == preds.argmax(axis=-1)
        correct = (batch["mask"] & right).sum()
        total = batch["mask"].sum()
        return dict(
            correct=metrics["correct"] + jax.lax.psum(correct, axis_name="batch"),
            total=metrics["total"] + jax.lax.psum(total, axis_name="batch"),
        )

    eval_step = jax.pmap(eval_step, axis_name="batch")
    eval_step = jax_utils.pad_shard_unpad(
        eval_step, static_argnums=(0, 1), static_return=True
    )
    metrics = jax_utils.replicate(dict(correct=0, total=0))
    replicated = jax_utils.replicate(variables)
    for batch in batches(16, mask=True):
        metrics = eval_step(metrics, replicated, batch, min_device_batch=PER_DEVICE)
    metrics = jax_utils.unreplicate(metrics)
    assert metrics["total"] == SIZE
    assert metrics["correct"] == expected(model, variables)
    # The last batch is padded to the shape of the others.
    assert all(shapes == compiled[0] for shapes in compiled)


def test_infinite_padding(devices, model):
    model, variables = model
    size = D * PER_DEVICE

    def padded():
        empty = {
            "image": np.zeros((size, 2, 2, 1), np.float32),
            "label": np.zeros(size, int),
            "mask": np.zeros(size, bool),
        }
        for batch in batches(size, mask=True):
            n = size - len(batch["label"])
            yield {k: np.concatenate([v, empty[k][:n]]) for k, v in batch.items()}
        while True:
            yield empty

    def shard(x):
        return x.reshape((D, -1) + x.shape[1:])

    kwargs = dict(axis_name="batch", devices=devices)
    get_preds = jax.pmap(model.apply, in_axes=(None, 0), devices=devices)
    count_p = jax.pmap(lambda mask: jax.lax.psum(mask.sum(), "batch"), **kwargs)
    count_correct_p = jax.pmap(
        lambda labels, preds, mask: jax.lax.psum(
            (mask & (labels == preds)).sum(), "batch"
        ),
        **kwargs,
    )
    correct = total = 0
    for batch in padded():
        batch = {k: shard(v) for k, v in batch.items()}
        n = count_p(batch["mask"])[0].item()
        if not n:
            break
        preds = get_preds(variables, batch["image"]).argmax(axis=-1)
        total += n
        correct += int(count_correct_p(batch["label"], preds, batch["mask"])[0])
    assert total == SIZE
    assert correct == expected(model, variables)

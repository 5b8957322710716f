"""The data sets, and what batches are made of them."""

import sys
import types

import input_pipeline
import numpy as np
import pytest
from input_pipeline import Images, batches, load, train_batches

TINY = Images(np.arange(10 * 4, dtype=np.float32).reshape(10, 4), None)


def epoch(number=1, batch_size=4, seed=0):
    return list(train_batches(TINY, batch_size, seed=seed, epoch=number))


def test_the_digits_of_scikit_learn_are_binary():
    train, test = load("digits")
    assert train.pixels.shape == (1438, 64)
    assert test.pixels.shape == (359, 64)
    assert train.side == 8
    for part in (train, test):
        assert part.pixels.dtype == np.float32
        assert set(np.unique(part.pixels)) == {0.0, 1.0}
        assert set(part.label.tolist()) == set(range(10))
    assert 0.3 < train.pixels.mean() < 0.5


@pytest.fixture
def made_up_tfds(monkeypatch):
    """TensorFlow Datasets as far as it is used, with the forms of binarized MNIST."""
    asked = []

    def made_up_load(name, *, split, batch_size, data_dir):
        asked.append((name, split, batch_size, data_dir))
        image = np.zeros(({"train": 6, "test": 2}[split], 28, 28, 1), np.uint8)
        image[:, 3] = 1
        return {"image": image}

    module = types.ModuleType("tensorflow_datasets")
    vars(module).update(load=made_up_load, as_numpy=lambda found: found)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return asked


def test_mnist_is_of_tensorflow_datasets(made_up_tfds):
    train, test = load("binarized_mnist", "folder")
    assert made_up_tfds == [
        ("binarized_mnist", "train", -1, "folder"),
        ("binarized_mnist", "test", -1, "folder"),
    ]
    assert train.pixels.shape == (6, 784)
    assert test.pixels.shape == (2, 784)
    assert test.pixels.dtype == np.float32
    assert test.pixels.sum() == 2 * 28
    assert train.side == 28
    assert train.label is None
    load("binarized_mnist")
    assert made_up_tfds[-1][-1] is None


def test_mnist_as_tensorflow_datasets_mocks_it():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=5):
        train, _ = load("binarized_mnist")
    assert train.pixels.shape == (5, 784)
    assert set(np.unique(train.pixels)) <= {0.0, 1.0}


def test_without_it_the_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow tensorflow-datasets"):
        load("binarized_mnist")


def test_another_data_set_is_an_error():
    with pytest.raises(ValueError, match="no data set 'cats': config.dataset is 'dig"):
        load("cats")


def test_batches_in_order_leave_nothing_out():
    found = list(batches(TINY, 4))
    assert [len(x) for x in found] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(found), TINY.pixels)


def test_an_epoch_is_whole_batches_of_different_images():
    found = epoch()
    assert [x.shape for x in found] == [(4, 4), (4, 4)]
    assert len({row.tobytes() for row in np.concatenate(found)}) == 8


def test_an_epoch_depends_on_seed_and_number_alone():
    first = np.concatenate(epoch(3))
    np.testing.assert_array_equal(first, np.concatenate(epoch(3)))
    assert not np.array_equal(first, np.concatenate(epoch(4)))
    assert not np.array_equal(first, np.concatenate(epoch(3, seed=1)))


def test_a_batch_over_all_images_is_an_error():
    with pytest.raises(ValueError, match="config.batch_size is 11, over the 10 train"):
        epoch(batch_size=11)


@pytest.mark.parametrize("loader", ["numpy", "grain"])
def test_batches_come_in_their_order(loader):
    found = input_pipeline.read(lambda place: 10 * place, [3, 0, 5], loader)
    assert list(found) == [30, 0, 50]
    assert list(input_pipeline.read(str, [], loader)) == []


def test_a_loader_that_is_unknown_or_not_installed_is_named(monkeypatch):
    with pytest.raises(ValueError, match="'torch'; it must be 'numpy' or 'grain'"):
        next(input_pipeline.read(str, [1], "torch"))
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match="pip install grain"):
        next(input_pipeline.read(str, [1], "grain"))

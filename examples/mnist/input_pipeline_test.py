"""The data sets, and what batches are made of them."""

import sys
import types

import input_pipeline
import numpy as np
import pytest
from input_pipeline import Digits, batches, load, shifted, train_batches

TINY = Digits(np.arange(10 * 16, dtype=np.float32).reshape(10, 4, 4, 1), np.arange(10))


def epoch(number=1, **options):
    options = {"batch_size": 4, "shift": 0, "seed": 0, **options}
    return list(train_batches(TINY, epoch=number, **options))


def labels(found):
    return np.concatenate([batch.label for batch in found]).tolist()


def test_the_digits_of_scikit_learn():
    train, test = load("digits")
    assert train.image.shape == (1438, 8, 8, 1)
    assert test.image.shape == (359, 8, 8, 1)
    for part in (train, test):
        assert part.image.dtype == np.float32
        assert part.image.min() == 0
        assert part.image.max() == 1
        assert set(part.label.tolist()) == set(range(10))


def test_no_image_is_in_both_sets():
    train, test = load("digits")
    seen = {image.tobytes() for image in train.image}
    assert not [image for image in test.image if image.tobytes() in seen]


@pytest.fixture
def made_up_tfds(monkeypatch):
    """TensorFlow Datasets as far as it is used, with MNIST's forms and types."""
    asked = []

    def made_up_load(name, *, split, batch_size, data_dir):
        asked.append((name, split, batch_size, data_dir))
        number = {"train": 6, "test": 2}[split]
        image = np.full((number, 28, 28, 1), 255, np.uint8)
        return {"image": image, "label": np.arange(number, dtype=np.int64)}

    module = types.ModuleType("tensorflow_datasets")
    vars(module).update(load=made_up_load, as_numpy=lambda found: found)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return asked


def test_mnist_is_of_tensorflow_datasets(made_up_tfds):
    train, test = load("mnist", "folder")
    assert made_up_tfds == [
        ("mnist", "train", -1, "folder"),
        ("mnist", "test", -1, "folder"),
    ]
    assert train.image.shape == (6, 28, 28, 1)
    assert test.label.tolist() == [0, 1]
    assert train.image.dtype == np.float32
    assert train.image.max() == 1
    assert train.label.dtype == np.int32
    load("mnist")
    assert made_up_tfds[-1][-1] is None


def test_mnist_as_tensorflow_datasets_mocks_it():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=5):
        train, _ = load("mnist")
    assert train.image.shape == (5, 28, 28, 1)
    assert train.label.shape == (5,)


def test_without_it_the_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow tensorflow-datasets"):
        load("mnist")


def test_another_data_set_is_an_error():
    with pytest.raises(ValueError, match="no data set 'cats': config.dataset is 'dig"):
        load("cats")


def test_moved_images():
    image = np.arange(9.0).reshape(1, 3, 3, 1)
    by = np.array([[0, 0], [1, 0], [0, -1]])
    still, down, left = shifted(image.repeat(3, 0), by)[..., 0]
    assert still.tolist() == image[0, ..., 0].tolist()
    assert down.tolist() == [[0, 0, 0], [0, 1, 2], [3, 4, 5]]
    assert left.tolist() == [[1, 2, 0], [4, 5, 0], [7, 8, 0]]


def test_batches_in_order_leave_nothing_out():
    found = list(batches(TINY, 4))
    assert [len(batch.label) for batch in found] == [4, 4, 2]
    assert labels(found) == list(range(10))


@pytest.mark.parametrize("loader", input_pipeline.LOADERS)
def test_an_epoch_is_whole_batches_of_different_examples(loader):
    found = epoch(loader=loader)
    assert [batch.image.shape for batch in found] == 2 * [(4, 4, 4, 1)]
    assert len(set(labels(found))) == 8
    for batch in found:
        np.testing.assert_array_equal(batch.image, TINY.image[batch.label])


@pytest.mark.parametrize("loader", input_pipeline.LOADERS)
def test_an_epoch_depends_on_seed_and_number_alone(loader):
    first, again = (epoch(3, loader=loader, shift=1) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)
    assert labels(first) != labels(epoch(4, loader=loader))
    assert labels(first) != labels(epoch(3, loader=loader, seed=1))


@pytest.mark.parametrize("loader", input_pipeline.LOADERS)
def test_training_images_are_moved(loader):
    found = epoch(loader=loader, shift=1)
    moved = [
        not np.array_equal(image, TINY.image[label])
        for batch in found
        for image, label in zip(batch.image, batch.label, strict=True)
    ]
    assert any(moved)


def test_a_batch_over_all_examples_is_an_error():
    with pytest.raises(ValueError, match="config.batch_size is 11, over the 10 train"):
        epoch(batch_size=11)


def test_another_loader_is_an_error():
    with pytest.raises(ValueError, match="no loader 'torch': config.loader is one of"):
        epoch(loader="torch")


def test_without_grain_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match="pip install grain"):
        epoch(loader="grain")

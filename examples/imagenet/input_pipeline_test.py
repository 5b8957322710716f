import sys
import types

import augment
import input_pipeline
import numpy as np
import pytest
from configs import default, small
from input_pipeline import Arrays, Folder, Pipeline, TensorFlowDataset, prefetch
from PIL import Image


def photo(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(
        0, 256, size=(height, width, 3), dtype=np.uint8
    )


@pytest.fixture
def imagenet_folder(tmp_path):
    """Files in the form of ImageNet's archives, of several sizes, one of them grey."""
    for part, number in (("train", 6), ("val", 3)):
        for label, name in enumerate(("n01440764", "n01443537", "n01484850")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for index in range(number):
                image = np.full((30 + index, 50, 3), 80 * label, np.uint8)
                image = image if index else image[..., 0]
                Image.fromarray(image).save(folder / f"{name}_{index}.JPEG")
    return tmp_path


def test_digits_are_colour_images_of_ten_classes(digits):
    train, test = digits
    assert train.images.shape == (3 * 1438, 32, 32, 3)
    assert train.images.dtype == np.uint8
    assert test.images.shape == (359, 32, 32, 3)
    assert set(train.labels) == set(test.labels) == set(range(10))
    # In colour, and no two versions of a digit alike.
    assert (train.images.std(axis=-1).mean(axis=(1, 2)) > 1).all()
    assert (train.images[0] != train.images[1438]).mean() > 0.5
    assert train.labels[0] == train.labels[1438]


def test_a_folder_like_imagenet(imagenet_folder):
    train, val = input_pipeline.load(f"folder:{imagenet_folder}")
    assert (len(train), len(val)) == (18, 9)
    assert [train[i][1] for i in range(18)] == [0] * 6 + [1] * 6 + [2] * 6
    image, label = train[7]
    assert (image.shape, image.dtype, label) == ((31, 50, 3), np.uint8, 1)
    assert abs(image.astype(int) - 80).max() <= 2
    grey, _ = val[3]
    assert grey.shape == (30, 50, 3)

    config = default.get_config()
    config.update(batch_size=6, threads=2)
    batch = Pipeline(train, config, slice(0, 6)).training_batch(0)
    assert batch["image"].shape == (6, 224, 224, 3)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no images. It should have"):
        Folder(tmp_path)


def test_tensorflow_datasets_by_number(monkeypatch):
    """A source of the form that `tfds.data_source` returns."""
    examples = [{"image": photo(seed=i), "label": np.int64(i)} for i in range(3)]
    examples.append({"image": photo()[..., :1], "label": np.int64(9)})
    asked = []

    def data_source(name, split):
        asked.append((name, split))
        return examples

    fake = types.SimpleNamespace(data_source=data_source)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    train, test = input_pipeline.load("imagenet2012")
    assert asked == [("imagenet2012", "train"), ("imagenet2012", "validation")]
    image, label = train[2]
    np.testing.assert_array_equal(image, examples[2]["image"])
    assert (len(test), label, type(label)) == (4, 2, int)
    assert train[3][0].shape == (40, 60, 3)
    input_pipeline.load("cifar10")
    assert asked[-1] == ("cifar10", "test")


def test_tensorflow_datasets_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        TensorFlowDataset("imagenet2012", "train")


def make_pipeline(rows=slice(0, 8), seed=0, number=20):
    config = small.get_config()
    config.update(batch_size=8, image_size=16, seed=seed)
    images = np.stack([photo(32, 32, seed=i) for i in range(number)])
    return Pipeline(Arrays(images, np.arange(number)), config, rows, threads=2)


def test_a_step_decides_its_batch():
    one, other = make_pipeline(), make_pipeline()
    later = one.training_batch(5)
    for step in range(6):
        again = other.training_batch(step)
    np.testing.assert_array_equal(later["image"], again["image"])
    np.testing.assert_array_equal(later["label"], again["label"])
    assert (make_pipeline(seed=1).training_batch(5)["label"] != again["label"]).any()


def test_an_epoch_takes_no_example_twice_and_the_next_is_in_another_order():
    pipeline = make_pipeline()
    epochs = [
        np.concatenate([pipeline.training_batch(2 * e + s)["label"] for s in (0, 1)])
        for e in (0, 1)
    ]
    assert all(len(set(labels)) == 16 for labels in epochs)
    assert (epochs[0] != epochs[1]).any()


def test_parts_of_processes_make_up_the_batch():
    whole = make_pipeline().training_batch(3)
    parts = [make_pipeline(slice(s, s + 4)).training_batch(3) for s in (0, 4)]
    for name in ("image", "label"):
        joined = np.concatenate([part[name] for part in parts])
        np.testing.assert_array_equal(joined, whole[name])


def test_every_test_example_counts_once():
    batches = list(make_pipeline().test_batches())
    assert [batch["weight"].sum() for batch in batches] == [8, 8, 4]
    counted = [b["label"][b["weight"] > 0] for b in batches]
    np.testing.assert_array_equal(np.concatenate(counted), np.arange(20))


@pytest.mark.parametrize("loader", ["numpy", "grain"])
def test_prefetch_keeps_the_order(loader):
    found = prefetch(lambda step: 10 * step, range(3, 8), loader)
    assert list(found) == [30, 40, 50, 60, 70]
    assert list(prefetch(str, range(0), loader)) == []


@pytest.mark.parametrize("loader", ["numpy", "grain"])
def test_prefetch_raises_what_reading_raises(loader):
    def broken(step):
        raise OSError(f"step {step}")

    with pytest.raises(OSError, match="step 0"):
        list(prefetch(broken, range(3), loader))


def test_crops_have_the_area_and_shape_that_are_asked_for():
    rng = np.random.default_rng(0)
    lefts = set()
    for _ in range(200):
        left, top, right, bottom = augment.random_crop_box(
            100, 150, (0.2, 0.5), (0.75, 1.5), rng
        )
        assert 0 <= left < right <= 150
        assert 0 <= top < bottom <= 100
        width, height = right - left, bottom - top
        assert 0.2 <= width * height / 15000 <= 0.5 + 1e-9
        assert 0.75 - 1e-9 <= width / height <= 1.5 + 1e-9
        lefts.add(left)
    assert len(lefts) == 200


def test_a_crop_that_never_fits_is_the_middle():
    rng = np.random.default_rng(0)
    box = augment.random_crop_box(10, 300, (1.0, 1.0), (1.0, 1.0), rng)
    assert box == (145, 0, 155, 10)


def test_half_of_the_images_are_mirrored():
    config = default.get_config()
    config.update(
        image_size=32, crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), colors=0.0
    )
    image = photo(32, 32)
    mirrored = 0
    for seed in range(200):
        view = augment.training_view(image, config, np.random.default_rng(seed))
        if (view == image[:, ::-1]).all():
            mirrored += 1
        else:
            np.testing.assert_array_equal(view, image)
    assert 70 < mirrored < 130


def test_colors():
    image = photo()
    np.testing.assert_array_equal(augment.change_colors(image, (1, 1, 1)), image)
    assert (augment.change_colors(image, (0, 1, 1)) == 0).all()
    flat = augment.change_colors(image, (1, 0, 0))
    assert flat.min() == flat.max()
    grey = augment.change_colors(image, (1, 1, 0))
    assert (np.ptp(grey, axis=-1) == 0).all()
    half = augment.change_colors(image, (0.5, 1, 1))
    np.testing.assert_allclose(half, image / 2, atol=0.51)
    less = augment.change_colors(image, (1, 0.5, 1))
    assert less.std() == pytest.approx(image.std() / 2, rel=0.02)
    lighter = augment.change_colors(image, (3, 1, 1))
    assert lighter.max() == 255


def test_evaluation_sees_the_middle():
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:15, 15:25] = 200
    assert (augment.center_crop(image, 10, 0.5) == 200).all()
    assert augment.center_crop(image, 8, 1.0).shape == (8, 8, 3)


def test_a_loader_that_is_unknown_or_not_installed_is_named(monkeypatch):
    with pytest.raises(ValueError, match="'torch'; it must be 'numpy' or 'grain'"):
        next(prefetch(str, range(1), "torch"))
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match="pip install grain"):
        next(prefetch(str, range(1), "grain"))

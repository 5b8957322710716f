"""ResNet-50 on ImageNet: 1.28 million images, 90 epochs."""

from __future__ import annotations

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """The full task, for any number of accelerators."""
    config = ConfigDict()
    config.seed = 0

    # "folder:PATH" for an unpacked archive, or a name of TensorFlow Datasets.
    config.dataset = "imagenet2012"
    config.num_classes = 1000
    config.image_size = 224
    config.batch_size = 1024  # over all devices of all processes
    config.crop_area = (0.08, 1.0)
    config.crop_ratio = (3 / 4, 4 / 3)
    config.flip = True
    config.colors = 0.4
    config.center_crop = 0.875
    config.pixel_mean = (0.485, 0.456, 0.406)
    config.pixel_std = (0.229, 0.224, 0.225)
    config.threads = 32
    config.loader = "numpy"  # or "grain": what makes batches ahead of time

    config.model = "resnet50"  # see NAMES in models.py
    config.num_filters = 64
    config.small_images = False
    config.batch_norm_momentum = 0.9
    config.dtype = "bfloat16"  # or float32, or float16 with dynamic scaling

    config.num_epochs = 90
    config.warmup_epochs = 5.0
    config.learning_rate = 0.1  # for 256 images a step; grows with batch_size
    config.momentum = 0.9
    config.weight_decay = 1e-4
    config.label_smoothing = 0.1

    config.log_every_steps = 100
    config.checkpoint_every_steps = 1000
    return config

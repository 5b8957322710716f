"""A narrow ResNet-18 on digits over photographs, for two cores."""

from __future__ import annotations

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """What trains here in some minutes."""
    config = ConfigDict()
    config.seed = 0

    config.dataset = "digits"
    config.num_classes = 10
    config.image_size = 24
    config.batch_size = 64
    config.crop_area = (0.6, 1.0)
    config.crop_ratio = (3 / 4, 4 / 3)
    config.flip = False  # A mirrored digit is none.
    config.colors = 0.4
    config.center_crop = 1.0
    config.pixel_mean = (0.485, 0.456, 0.406)
    config.pixel_std = (0.229, 0.224, 0.225)
    config.threads = 2
    config.loader = "numpy"

    config.model = "resnet18"
    config.num_filters = 16
    config.small_images = True
    config.batch_norm_momentum = 0.9
    config.dtype = "bfloat16"

    config.num_epochs = 8
    config.warmup_epochs = 1.0
    config.learning_rate = 0.4
    config.momentum = 0.9
    config.weight_decay = 5e-4
    config.label_smoothing = 0.1

    config.log_every_steps = 20
    config.checkpoint_every_steps = 67
    return config

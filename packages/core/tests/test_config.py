"""The module of the settings, used as the settings are."""

import contextlib

import pytest

from batiste.core import config as config_module
from batiste.core.config import config, use_regular_dict


@contextlib.contextmanager
def restored(*names):
    before = {name: getattr(config, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            config.update(name, value)


def test_the_module_can_be_used_like_the_object():
    with restored("filter_frames"):
        config_module.update("filter_frames", False)
        assert config_module.filter_frames is False is config.filter_frames
    with config_module.temp_flip_flag("filter_frames", False):
        assert config_module.flax_filter_frames is False
    with pytest.raises(ImportError):
        from batiste.core.config import no_such_name  # type: ignore  # noqa: F401


def test_use_regular_dict():
    @use_regular_dict()
    def nested(depth):
        inner = nested(depth - 1) if depth else []
        return [config.return_frozendict, *inner]

    assert nested(2) == [False] * 3
    assert config.return_frozendict is True
    with use_regular_dict():
        assert config.return_frozendict is False
    assert config.return_frozendict is True

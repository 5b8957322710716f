"""The flags of NNX, under the names that its programs use."""

import pytest

from batiste.flax import nnx_flags

# As flax 0.12.8 has them.
DEFAULTS = {
    "flax_always_shard_variable": True,
    "flax_array_ref": False,
    "flax_hijax_variable": False,
    "flax_max_repr_depth": None,
    "flax_pytree_module": True,
    "flax_use_flaxlib": False,
    "nnx_graph_mode": True,
    "nnx_graph_updates": True,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(flax, name):
    holder = getattr(flax.configurations, name)
    assert holder is getattr(nnx_flags, name)
    assert holder.value is getattr(flax.config, name) is DEFAULTS[name]


def test_setting_one(flax):
    with flax.configurations.temp_flip_flag("pytree_module", False):
        assert not flax.config.flax_pytree_module
    flax.config.update("flax_always_shard_variable", False)
    assert not flax.config.flax_always_shard_variable
    flax.config.update("flax_always_shard_variable", True)

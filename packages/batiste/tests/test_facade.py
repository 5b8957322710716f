"""The flat names are the very objects of the packages."""

import importlib

import pytest

ORIGINS = {
    "config": "batiste.core.config",
    "jax_utils": "batiste.training.jax_utils",
    "struct": "batiste.core.struct",
    "traceback_util": "batiste.core.traceback_util",
    "traverse_util": "batiste.traverse",
}

# What the specification lists under each flat name.
SPECIFIED = {
    "config": "config bool_flag int_flag static_bool_env static_int_env update",
    "jax_utils": "replicate unreplicate pmean partial_eval_by_shape prefetch_to_device "
    "scan_in_dim pad_shard_unpad",
    "struct": "field dataclass PyTreeNode",
    "traceback_util": "api_boundary register_exclusion hide_flax_in_tracebacks "
    "show_flax_in_tracebacks",
    "traverse_util": "flatten_dict unflatten_dict path_aware_map Traversal TraverseId "
    "TraverseMerge TraverseCompose TraverseFilter TraverseAttr TraverseItem "
    "TraverseEach TraverseTree ModelParamTraversal t_identity",
}


@pytest.mark.parametrize("name", ORIGINS)
def test_flat_names_are_the_packages_own_objects(name):
    flat = importlib.import_module(f"batiste.{name}")
    origin = importlib.import_module(ORIGINS[name])
    for public in [*getattr(origin, "__all__", ()), *SPECIFIED[name].split()]:
        assert getattr(flat, public) is getattr(origin, public)


def test_flat_modules_come_with_from_import():
    from batiste import struct, traverse_util

    assert struct.__name__ == "batiste.struct"
    assert traverse_util.flatten_dict({"a": {"b": 1}}, sep="/") == {"a/b": 1}


@pytest.mark.parametrize(
    "package", ["core", "linen", "serialization", "spmd", "training", "traverse"]
)
def test_every_error_class_has_its_flat_name(package):
    from batiste import errors

    origin = importlib.import_module(f"batiste.{package}.errors")
    classes = {
        name: value
        for name, value in vars(origin).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert classes
    for name, cls in classes.items():
        assert getattr(errors, name) is cls
        assert name in errors.__all__


def test_nothing_but_errors_is_among_the_errors():
    from batiste import errors

    assert all(issubclass(getattr(errors, name), Exception) for name in errors.__all__)


# Flags of core, linen and training, with values that they do not have by themselves.
FLAGS = {
    "fix_rng_separator": True,
    "profile": False,
    "preserve_adopted_names": True,
    "use_orbax_checkpointing": True,
    "early_stopping_pair": False,
}


@pytest.mark.parametrize(
    "first",
    [
        "from batiste import config",
        "import batiste.linen; from batiste import config",
        "import batiste.training; from batiste import config",
        "import batiste.training.checkpoints; from batiste import config",
        "from batiste.flax.configurations import flax_profile\n"
        "assert flax_profile.value is True\nfrom batiste import config",
    ],
)
def test_every_flag_is_there_whatever_is_imported_first(run, first):
    program = f"""
{first}
for name, value in {FLAGS}.items():
    assert getattr(config, name) is not value
    config.update("flax_" + name, value)
    assert getattr(config, name) is value
import batiste.linen.flags, batiste.training.flags
for name, value in {FLAGS}.items():
    assert getattr(batiste.training.flags.config, name) is value
"""
    run("-c", program)


def test_every_flag_takes_its_value_from_the_environment(run):
    env = {f"FLAX_{name.upper()}": str(value) for name, value in FLAGS.items()}
    program = f"""
from batiste import config
assert all(getattr(config, name) is value for name, value in {FLAGS}.items())
"""
    run("-c", program, env=env)


def test_the_flat_name_of_the_settings_imports_no_package_for_its_flags(run):
    loaded = set(run("-c", "import batiste.config, sys; print(*sys.modules)").split())
    assert "batiste.core.config" in loaded
    assert not loaded & {"batiste.linen", "batiste.training"}


def test_settings_are_read_and_changed_through_the_flat_name():
    from batiste import config
    from batiste.core.config import config as origin

    with config.temp_flip_flag("return_frozendict", False):
        assert config.return_frozendict is origin.return_frozendict is False
    assert config.return_frozendict is origin.return_frozendict


def test_an_unknown_setting_is_an_error_that_names_it():
    from batiste import config

    with pytest.raises(config.UnknownFlagError, match='No flag "nothing" is defined'):
        _ = config.nothing

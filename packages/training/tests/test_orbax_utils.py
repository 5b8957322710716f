"""Arguments for Orbax, made from pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.training import orbax_utils

ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")


def make_mesh(count=2, name="x"):
    if jax.device_count() < count:
        pytest.skip("needs several devices; the suite alone has 8 (see conftest.py)")
    return Mesh(np.array(jax.devices()[:count]), (name,))


def test_save_args_match_the_target():
    target = {"a": np.ones(2), "b": [1, "x"], "n": None}
    args = orbax_utils.save_args_from_target(target)
    assert jax.tree.structure(args) == jax.tree.structure(target)
    assert all(isinstance(a, ocp.SaveArgs) for a in jax.tree.leaves(args))


def test_restore_args_have_the_types_of_the_target():
    target = {
        "a": np.ones(2, np.int8),
        "i": 3,
        "f": 2.0,
        "s": "x",
        "b": True,
        "n": None,
    }
    args = orbax_utils.restore_args_from_target(target)
    assert {k: v.restore_type for k, v in args.items() if v is not None} == {
        "a": np.ndarray,
        "i": int,
        "f": float,
        "s": str,
        "b": bool,
    }
    assert args["a"].dtype == np.int8
    assert args["n"] is None
    abstract = jax.ShapeDtypeStruct((2,), jnp.bfloat16)
    args = orbax_utils.restore_args_from_target([abstract, np.float32(1)])
    assert [a.restore_type for a in args] == [np.ndarray, np.ndarray]


def test_restore_args_have_the_shardings_of_the_target():
    mesh = make_mesh()
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    array = jax.device_put(np.arange(4), sharding)
    abstract = jax.ShapeDtypeStruct((4,), jnp.int32, sharding=sharding)
    for value in (array, abstract):
        args = orbax_utils.restore_args_from_target(value)
        assert (args.sharding, args.dtype) == (sharding, np.int32)
    single = orbax_utils.restore_args_from_target(jnp.ones(2))
    assert single.sharding == jnp.ones(2).sharding


def test_a_mesh_replaces_that_of_named_shardings():
    array = jax.device_put(np.arange(4), NamedSharding(make_mesh(), PartitionSpec("x")))
    other = make_mesh(4)
    args = orbax_utils.restore_args_from_target([array, jnp.ones(2)], mesh=other)
    assert args[0].sharding == NamedSharding(other, PartitionSpec("x"))
    assert args[1].sharding == jnp.ones(2).sharding


def test_arrays_on_several_devices_are_told_from_others():
    sharding = NamedSharding(make_mesh(), PartitionSpec("x"))
    array = jax.device_put(np.arange(4), sharding)
    assert orbax_utils.is_multi_device_array(array)
    assert not orbax_utils.is_multiprocess_array(array)
    for value in (jnp.ones(2), np.ones(2), 1, "x", None):
        assert not orbax_utils.is_multi_device_array(value)
        assert not orbax_utils.is_multiprocess_array(value)


def test_transformations_leave_empty_leaves_to_the_target():
    given = {"m": 1}
    assert orbax_utils.maybe_construct_transformations({"a": None}, given) is given
    made = orbax_utils.maybe_construct_transformations({"a": {"b": None, "c": 1}}, None)
    assert made["a"]["b"].use_fallback
    assert list(made["a"]) == ["b"]
    assert orbax_utils.maybe_construct_transformations([1], None) == {}

"""Tests of batiste.linen.meta: the names of two packages in one place."""

import pytest

import batiste.linen as nn
from batiste import spmd
from batiste.core import meta as core_meta
from batiste.linen import meta

OF_SPMD = {
    "PARTITION_NAME",
    "Partitioned",
    "get_global_mesh",
    "get_partition_spec",
    "get_sharding",
    "global_mesh_defined",
    "with_partitioning",
}


@pytest.mark.parametrize("name", meta.__all__)
def test_every_name_is_that_of_its_package(name):
    package = spmd if name in OF_SPMD else core_meta
    assert getattr(meta, name) is getattr(package, name)


def test_boxes_of_meshes_are_boxes():
    assert meta.is_axis_metadata(meta.Partitioned(1.0, ("a",)))
    assert nn.unbox({"w": meta.Partitioned(1.0, ("a",))}) == {"w": 1.0}

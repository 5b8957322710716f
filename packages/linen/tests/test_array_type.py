"""Tests of batiste.linen.array_type, on one device."""

import jax
import pytest
from jax import numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from batiste.linen import array_type

X = jnp.ones((2, 3))


def test_a_type_without_a_mesh():
    assert array_type.type_parts(X) == ((2, 3), X.dtype, frozenset(), None)
    assert array_type.laid_out(X, jax.typeof(X), PartitionSpec("data")) is X
    assert array_type.as_type(X, jax.typeof(X)) is X
    assert array_type.laid_out_by_compiler(jnp.sin, [X], None, None) is None


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.complex64, jnp.int32])
def test_converting_a_dtype(dtype):
    kind = jax.typeof(X.astype(dtype))
    assert array_type.as_type(X, kind).dtype == dtype


def mesh(kind):
    return jax.make_mesh((1,), ("data",), axis_types=(kind,))


def test_varying_axes():
    seen = []

    def run(x):
        zeros = jnp.zeros(2)
        seen.append(array_type.varying_axes(jax.typeof(zeros)))
        converted = array_type.as_type(zeros, jax.typeof(x))
        seen.append(array_type.varying_axes(jax.typeof(converted)))
        return converted

    spec = PartitionSpec("data")
    jax.shard_map(run, mesh=mesh(AxisType.Auto), in_specs=spec, out_specs=spec)(
        X[0, :2]
    )
    assert seen == [frozenset(), {"data"}]


def test_explicit_axes():
    if not hasattr(jax, "set_mesh"):
        pytest.skip("no mesh can be set")
    with jax.set_mesh(mesh(AxisType.Explicit)):
        x = jax.sharding.reshard(X, PartitionSpec("data", None))
        kind = jax.typeof(x)
        spec = array_type.explicit_spec(kind)
        assert spec == PartitionSpec("data", None)
        other = jnp.zeros((2, 3))
        assert array_type.explicit_spec(jax.typeof(other)) != spec
        for made in (
            array_type.as_type(other, kind),
            array_type.laid_out(other, kind, spec),
            array_type.laid_out_by_compiler(jnp.sin, [x], "data", "data"),
        ):
            assert array_type.explicit_spec(jax.typeof(made)) == spec
    with jax.set_mesh(mesh(AxisType.Auto)):
        assert array_type.explicit_spec(jax.typeof(jnp.ones(2))) is None

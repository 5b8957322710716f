import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from batiste import spmd
from batiste.spmd.constraint import constrain

X = np.arange(64.0, dtype=np.float32).reshape(8, 8)


def test_a_staged_value_is_constrained(enter_mesh, mesh, layouts):
    def f(x):
        return constrain(x, ("data", "model"), None)

    with enter_mesh(mesh):
        assert layouts(f, X) == [("data", "model")]
        y = jax.jit(f)(X)
    assert y.sharding.shard_shape(y.shape) == (4, 2)
    np.testing.assert_array_equal(y, X)


def test_the_mesh_may_be_entered_inside_of_jit(mesh, layouts):
    # JAX lets no one enter `jax.set_mesh` while tracing.
    def f(x):
        with mesh:
            return constrain(x, ("data", None), None)

    assert layouts(f, X) == [("data", None)]


def test_without_a_mesh_nothing_is_constrained(layouts):
    assert layouts(lambda x: constrain(x, ("data", None), None), X) == []


def test_eager_values_are_left_alone(enter_mesh, mesh):
    x = jnp.asarray(X)
    with enter_mesh(mesh):
        assert constrain(x, ("data", "model"), None) is x
        assert constrain(X, ("data", "model"), None) is X
        # Tracers that are not being staged, one with a size that does not divide.
        double = jax.vmap(lambda v: constrain(v[:3], ("model",), None) * 2)(x)
        grad = jax.grad(lambda v: constrain(v, ("data", None), None).sum())(x)
    np.testing.assert_array_equal(double, 2 * X[:, :3])
    np.testing.assert_array_equal(grad, np.ones((8, 8)))


@pytest.mark.parametrize("name", ["mesh", "explicit_mesh"])
def test_a_mesh_that_is_given_is_applied_everywhere(name, request, layouts):
    mesh = request.getfixturevalue(name)
    y = constrain(X, ("data", "model"), mesh)
    assert y.sharding.shard_shape(y.shape) == (4, 2)
    assert layouts(lambda x: constrain(x, ("model",), mesh), X) == [("model",)]


@pytest.mark.parametrize(
    "value", [None, 1.0, "text", jax.ShapeDtypeStruct((2, 2), np.float32)]
)
def test_what_is_no_array_is_left_alone(value, mesh, enter_mesh):
    assert constrain(value, ("data",), mesh) is value
    with enter_mesh(mesh):
        assert constrain(value, ("data",), None) is value


def test_under_vmap_the_batch_dimension_is_unconstrained(enter_mesh, mesh, layouts):
    with enter_mesh(mesh):
        f = jax.vmap(lambda x: constrain(x, ("model",), None))
        assert layouts(f, X) == [(P.UNCONSTRAINED, "model")]


@pytest.mark.parametrize("typed", [True, False])
def test_keys_are_constrained_like_arrays(typed, enter_mesh, mesh):
    key = jax.random.key(0) if typed else jax.random.PRNGKey(0)
    keys = jax.random.split(key, 8)
    with enter_mesh(mesh):
        out = jax.jit(lambda k: constrain(k, ("data",), None))(keys)
    assert out.sharding.shard_shape(out.shape)[0] == 4
    np.testing.assert_array_equal(
        jax.vmap(jax.random.uniform)(out), jax.vmap(jax.random.uniform)(keys)
    )


def test_explicit_axes_are_resharded(set_mesh, explicit_mesh):
    with set_mesh(explicit_mesh):

        @jax.jit
        def f(x):
            x = constrain(x, ("data", "model"), None)
            kept = constrain(x, (None, P.UNCONSTRAINED), None)
            assert tuple(jax.typeof(x).sharding.spec) == ("data", "model")
            assert tuple(jax.typeof(kept).sharding.spec) == (None, "model")
            return x, kept

        x, kept = f(X)
    assert x.sharding.shard_shape(x.shape) == (4, 2)
    np.testing.assert_array_equal(kept, X)


def test_an_explicit_mesh_entered_the_old_way_is_automatic(explicit_mesh):
    with explicit_mesh:
        f = jax.jit(lambda x: constrain(x, ("data", "model"), None) + 1)
        assert f(X).sharding.shard_shape((8, 8)) == (4, 2)


def test_explicit_and_automatic_axes_may_be_mixed(set_mesh, mesh, layouts):
    types = (AxisType.Explicit, AxisType.Auto)
    mixed = Mesh(mesh.devices, mesh.axis_names, axis_types=types)
    with set_mesh(mixed):

        def f(x):
            x = constrain(x, ("data", "model"), None)
            assert tuple(jax.typeof(x).sharding.spec) == ("data", None)
            return x

        assert layouts(f, X) == [(None, "model")]


def test_inside_of_shard_map_manual_axes_are_left_out(mesh):
    def body(x):
        x = constrain(x, ("data", "model"), None)
        x = constrain(x, (("data", "model"), None), mesh)
        return constrain(x, ("data", None), None)

    for manual in ({"data"}, {"data", "model"}):
        f = jax.shard_map(
            body, mesh=mesh, in_specs=P("data"), out_specs=P("data"), axis_names=manual
        )
        np.testing.assert_array_equal(jax.jit(f)(X), X)


def test_an_unknown_axis_is_an_error_with_the_nearest_name(enter_mesh, mesh):
    with enter_mesh(mesh), pytest.raises(spmd.UnknownAxisError) as caught:
        jax.jit(lambda x: constrain(x, ("modle", None), None))(X)
    assert caught.value.nearest == ("model",)
    assert "Axis 'modle' is not among the axes of the mesh: 'data', 'model'" in str(
        caught.value
    )


def test_too_many_names_are_an_error(enter_mesh, mesh):
    with enter_mesh(mesh), pytest.raises(spmd.RankMismatchError, match="of rank 2"):
        jax.jit(lambda x: constrain(x, ("data", None, None), None))(X)
    with pytest.raises(spmd.RankMismatchError, match="3 axis names"):
        constrain(X, ("data", None, None), mesh)


def test_a_mesh_axis_on_two_dimensions_is_an_error(mesh):
    with pytest.raises(spmd.DuplicateAxisError, match="'data' occur more than once"):
        constrain(X, ("data", ("data", "model")), mesh)


def test_fewer_names_leave_the_rest_unsharded(mesh):
    y = constrain(X, ("data",), mesh)
    assert y.sharding.is_equivalent_to(NamedSharding(mesh, P("data", None)), 2)


@pytest.mark.parametrize("own_mesh", [False, True])
def test_inside_of_pmap_nothing_is_constrained(own_mesh, mesh):
    # Newer JAX puts a mesh of its own in force there.
    box = spmd.Partitioned(X, ("data",), mesh=mesh if own_mesh else None)
    doubled = jax.pmap(lambda x: 2 * box.replace_boxed(x).unbox())(X)
    np.testing.assert_array_equal(doubled, 2 * X)

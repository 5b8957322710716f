import threading

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from batiste import spmd


def axes():
    mesh = spmd.get_global_mesh()
    assert spmd.global_mesh_defined() == (mesh is not None)
    return None if mesh is None else dict(zip(mesh.axis_names, mesh.axis_sizes))


def test_no_mesh():
    assert axes() is None
    assert jax.jit(lambda x: (axes() is None) * x)(1) == 1


def test_the_mesh_in_force_outside_and_inside_of_jit(enter_mesh, mesh):
    seen = []
    with enter_mesh(mesh):
        assert axes() == {"data": 2, "model": 4}
        jax.jit(lambda x: seen.append(axes()))(1)
        jax.eval_shape(lambda x: seen.append(axes()), 1)
        jax.vmap(lambda x: seen.append(axes()))(jnp.ones(2))
    assert seen == [{"data": 2, "model": 4}] * 3
    assert axes() is None


def test_meshes_can_be_nested(enter_mesh, mesh):
    other = Mesh(mesh.devices.reshape(8), ("only",))
    with enter_mesh(mesh):
        with enter_mesh(other):
            assert axes() == {"only": 8}
        assert axes() == {"data": 2, "model": 4}


def test_the_mesh_in_force_survives_cleared_caches(enter_mesh, mesh):
    with enter_mesh(mesh):
        assert axes() is not None
        jax.clear_caches()
        assert axes() == {"data": 2, "model": 4}


def test_explicit_meshes(enter_mesh, explicit_mesh):
    with enter_mesh(explicit_mesh):
        assert axes() == {"data": 2, "model": 4}


def test_another_thread_has_no_mesh(enter_mesh, mesh):
    seen = []
    with enter_mesh(mesh):
        thread = threading.Thread(target=lambda: seen.append(axes()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_asking_leaks_no_tracers(enter_mesh, mesh):
    with jax.checking_leaks(), enter_mesh(mesh):
        assert jax.jit(lambda x: x * len(axes() or ()))(np.float32(1)) == 2


def test_asking_adds_nothing_to_the_program(enter_mesh, mesh):
    with enter_mesh(mesh):
        jaxpr = jax.make_jaxpr(lambda x: (axes(), x)[1])(1.0)
    assert not jaxpr.eqns

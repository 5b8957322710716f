"""The guard against values that leak out of a JAX transform."""

import importlib.util
import threading
import warnings

import jax
import jax.numpy as jnp
import pytest

from batiste.core import tracers
from batiste.core.errors import JaxTransformError


def _uses_outer_trace(base):
    def fun(x):
        tracers.check_trace_level(base, "/a/b")
        return x

    return fun


@pytest.mark.parametrize(
    "transform",
    [
        jax.jit,
        jax.grad,
        jax.vmap,
        jax.checkpoint,
        jax.eval_shape,
        jax.make_jaxpr,
        lambda f: lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=2),
        lambda f: lambda x: jax.lax.cond(True, f, f, x),
    ],
)
def test_every_transform_is_noticed(transform):
    base = tracers.current_trace()
    arg = jnp.ones(2) if transform is jax.vmap else 1.0
    with pytest.raises(JaxTransformError, match=r'cannot be mixed: scope "/a/b"'):
        if transform is jax.eval_shape:
            jax.eval_shape(_uses_outer_trace(base), arg)
        else:
            transform(_uses_outer_trace(base))(arg)
    tracers.check_trace_level(base)


def test_the_same_level_is_fine():
    def fun(x):
        inner = tracers.current_trace()
        y = jax.jit(jnp.sin)(x)
        jax.named_call(tracers.check_trace_level)(inner)
        with jax.named_scope("name"):
            tracers.check_trace_level(inner)
        return y

    fun(1.0)
    jax.jit(fun)(1.0)
    jax.grad(fun)(1.0)
    tracers.check_trace_level(None)


def test_a_level_outlives_its_transform():
    levels = []

    @jax.jit
    def fun(x):
        levels.append(tracers.current_trace())
        return x

    fun(1.0)
    with pytest.raises(JaxTransformError, match="cannot be mixed: a scope was made"):
        tracers.check_trace_level(levels[0])


def test_outside_of_all_transforms():
    seen = {}

    def note(name):
        def fn(x):
            seen[name] = tracers.current_trace() == tracers.eager_trace()
            return x

        return fn

    x = jnp.ones(2)
    note("eager")(x)
    thread = threading.Thread(target=note("thread"), args=(x,))
    thread.start()
    thread.join()
    jax.vmap(note("vmap"))(x)
    jax.grad(note("grad"))(1.0)
    jax.jit(note("jit"))(x)
    jax.jit(jax.vmap(note("vmap in jit")))(x)
    jax.eval_shape(note("eval_shape"), x)
    jax.lax.scan(lambda c, x: (note("scan")(c), None), 1.0, x)
    jax.checkpoint(note("checkpoint"))(1.0)
    assert {name for name, eager in seen.items() if eager} == {"eager", "thread"}


def test_no_leak_and_no_warning():
    with jax.checking_leaks():
        jax.jit(lambda x: (tracers.current_trace(), x)[1])(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A second copy, as the names are looked up when the module is imported.
        spec = importlib.util.spec_from_file_location(
            "batiste.core.tracers_again", tracers.__file__
        )
        assert spec is not None
        assert spec.loader is not None
        again = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(again)
        again.check_trace_level(tracers.current_trace())


def test_only_where_a_jaxpr_is_written_is_something_staged():
    seen = {}

    def note(name):
        def fn(x):
            seen[name] = tracers.is_staging()
            return x

        return fn

    x = jnp.ones(2)
    note("eager")(x)
    jax.vmap(note("vmap"))(x)
    jax.grad(note("grad"))(1.0)
    jax.jit(note("jit"))(x)
    jax.jit(jax.vmap(note("vmap in jit")))(x)
    jax.vmap(jax.jit(note("jit in vmap")))(x)
    jax.eval_shape(note("eval_shape"), x)
    staged = {name for name, is_staging in seen.items() if is_staging}
    assert staged == {"jit", "vmap in jit", "jit in vmap", "eval_shape"}


def test_staged_values_are_told_by_their_type():
    types = []
    jax.jit(lambda x: types.append(type(x)))(1.0)
    jax.vmap(lambda x: types.append(type(x)) or x)(jnp.ones(2))
    assert [kind is tracers.staged_type() for kind in types] == [True, False]

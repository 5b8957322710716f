"""Programs that are the same are compiled once; the others are not."""

import functools

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from batiste.core.compiled_once import call_compiled_once, program_key

X = jnp.arange(3.0)


def key_of(fn, *args):
    return program_key(jax.make_jaxpr(fn)(*args).jaxpr)


@pytest.fixture
def compilations():
    names = []

    def listen(name, *_, **__):
        if name == "/jax/core/compile/backend_compile_duration":
            names.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    # JAX 0.7 keeps all that listen; this one does no harm.
    if hasattr(jax.monitoring, "unregister_event_duration_listener"):
        jax.monitoring.unregister_event_duration_listener(listen)


def looped(scale):
    return lambda x: lax.scan(lambda c, a: (c + a * scale, a), 0.0, x)


def branched(scale):
    return lambda x: lax.cond(x.sum() > 0, lambda x: x * scale, lambda x: -x, x)


def repeated(scale):
    return lambda x: lax.while_loop(lambda x: x.sum() < 9, lambda x: x + scale, x)


def switched(scale):
    branches = [lambda x: x + scale, lambda x: x - scale, jax.nn.relu]
    return lambda x: lax.switch(1, branches, x)


@pytest.mark.parametrize("make", [looped, branched, repeated, switched])
def test_a_program_is_compiled_once(make, compilations):
    expected = make(2.0)(X)
    found = call_compiled_once(make(2.0), X)
    compilations.clear()
    for _ in range(50):
        found = call_compiled_once(make(2.0), X)
    assert not compilations
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    # Another constant is another program.
    other = call_compiled_once(make(3.0), X)
    jax.tree.map(np.testing.assert_array_equal, other, make(3.0)(X))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x * 0.0, lambda x: x * -0.0),
        (lambda x: x[:2], lambda x: x[1:]),
        (lambda x: x.astype("int32"), lambda x: x.astype("int16")),
        (jnp.sin, jnp.cos),
        (lambda x: (x, x + 1), lambda x: (x + 1, x)),
        (lambda x: x.sum(), lambda x: x.max()),
        (looped(1.0), looped(2.0)),
        (branched(1.0), branched(2.0)),
        (
            lambda x: lax.scan(lambda c, a: (c, a), 0.0, x),
            lambda x: lax.scan(lambda c, a: (c, a), 0.0, x, reverse=True),
        ),
        (
            lambda x: lax.dot(x, x, precision="highest"),
            lambda x: lax.dot(x, x, precision="default"),
        ),
        (lambda x: jax.jit(jnp.sin)(x), lambda x: jax.jit(jnp.cos)(x)),
        (
            lambda x: jax.pure_callback(np.sin, x, x),
            lambda x: jax.pure_callback(np.cos, x, x),
        ),
    ],
)
def test_other_programs_have_other_keys(one, other):
    assert key_of(one, X) == key_of(one, X)
    assert key_of(one, X) != key_of(other, X)


def test_inputs_are_part_of_the_key():
    keys = {
        key_of(jnp.sin, x)
        for x in (X, X[:2], X[None], X.astype("bfloat16"), 1.0, np.float32(1), 1)
    }
    assert len(keys) == 7


def test_values_that_are_closed_over_are_inputs():
    def make(scale):
        return lambda x: lax.scan(lambda c, a: (c + a * scale, a), 0.0 * X, x[None])

    for scale in (X + 1, X + 2):
        found, _ = call_compiled_once(make(scale), X)
        np.testing.assert_array_equal(found, X * scale)


@pytest.mark.parametrize("transform", [jax.grad, jax.jit, jax.vmap, jax.hessian])
@pytest.mark.parametrize("make", [looped, branched])
def test_it_can_be_transformed(make, transform):
    x = jnp.ones((2, 3)) if transform is jax.vmap else X

    def total(call):
        return lambda x: sum(leaf.sum() for leaf in jax.tree.leaves(call(x)))

    wanted = transform(total(make(2.0)))(x)
    found = transform(total(lambda x: call_compiled_once(make(2.0), x)))(x)
    np.testing.assert_array_equal(found, wanted)


def test_derivatives_of_ones_own_belong_to_the_program():
    def make(slope):
        @jax.custom_jvp
        def f(x):
            return x

        f.defjvp(lambda x, t: (x[0], t[0] * slope))
        return lambda x: lax.scan(lambda c, a: (c + f(a), a), 0.0, x)[0]

    for slope in (2.0, 3.0):
        grad = jax.grad(functools.partial(call_compiled_once, make(slope)))
        np.testing.assert_array_equal(grad(X), jnp.full(3, slope))


def test_without_compilation_it_is_plain_python():
    with jax.disable_jit():
        seen = []
        call_compiled_once(lambda x: seen.append(x), X)
        assert not isinstance(seen[0], jax.core.Tracer)


def test_what_is_no_array_is_left_to_jax():
    with pytest.raises(TypeError, match="function sin"):
        call_compiled_once(lambda x: jnp.sin(x), "abc")

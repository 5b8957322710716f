"""Tests of batiste.core.lift.jit."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, init, lift, nn
from batiste.core.config import config
from batiste.core.scope import LazyRng

KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}


class Counted:
    """A layer that counts how often it is traced or run."""

    def __init__(self):
        self.traces = 0

    def __call__(self, scope, x):
        self.traces += 1
        first = jax.random.bernoulli(scope.make_rng("dropout"), 0.5, x.shape)
        y = nn.dense(scope.push("dense"), x, x.shape[-1])
        second = jax.random.bernoulli(scope.make_rng("dropout"), 0.5, x.shape)
        return y + first + 2 * second


def stack(scope, x, fn, depth=3):
    for i in range(depth):
        child = scope.push(f"layer{i}")
        x = fn(child, x)
        x = fn(child.rewound(), x)
        x = x + jax.random.bernoulli(child.make_rng("dropout"), 0.5, x.shape)
    return x


def assert_same(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), a, b)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("make_key", [jax.random.key, jax.random.PRNGKey])
def test_the_same_with_and_without(make_key):
    rngs = {"params": make_key(0), "dropout": make_key(1)}
    x = jnp.ones((2, 3))
    y, variables = init(stack)(rngs, x, Counted())
    jitted_y, jitted_variables = init(stack)(rngs, x, lift.jit(Counted()))
    assert_equal(variables, jitted_variables)
    assert_same(y, jitted_y)
    assert_same(
        apply(stack)(variables, x, Counted(), rngs=rngs),
        apply(stack)(variables, x, lift.jit(Counted()), rngs=rngs),
    )


def test_compiled_once_however_often_and_wherever():
    layer = Counted()
    x = jnp.ones((2, 3))
    _, variables = init(stack)(RNGS, x, lift.jit(layer))
    # Once to make the parameters, and once for layers that have them already.
    assert layer.traces == 2
    for depth in (3, 5):
        init(stack)(RNGS, x, lift.jit(layer), depth)
    assert layer.traces == 2
    run = apply(stack)
    for seed in range(3):
        run(variables, x, lift.jit(layer), rngs={"dropout": jax.random.key(seed)})
    assert layer.traces == 3  # not mutable now
    other = {"dropout": jax.random.key(4)}
    jax.grad(lambda v: run(v, x, lift.jit(layer), rngs=other).sum())(variables)
    assert layer.traces == 3
    run(variables, jnp.ones((5, 3)), lift.jit(layer), rngs=other)
    assert layer.traces == 4  # another shape
    apply(stack, mutable="x")(variables, x, lift.jit(layer), rngs=other)
    assert layer.traces == 5  # another mutability
    apply(stack, flags={"train": True})(variables, x, lift.jit(layer), rngs=other)
    assert layer.traces == 6  # another flag
    apply(stack, flags={"x": set()})(variables, x, lift.jit(layer), 1, rngs=other)
    assert layer.traces == 8  # flags that cannot be compared: at every call


def test_compiled_once_for_a_fingerprint():
    traces = []

    def make(n):
        def fn(scope, x):
            traces.append(n)
            return nn.dense(scope, x, n)

        return fn

    def model(scope, x):
        for i in range(3):
            for n in (2, 3):
                fn = lift.jit(make(n), fingerprint=("dense", n))
                y = fn(scope.push(f"layer{i}_{n}"), x)
                assert y.shape == (1, n)

    init(model)(KEY, jnp.ones((1, 4)))
    init(model)(KEY, jnp.ones((1, 4)))
    assert traces == [2, 3]


def test_functions_die_with_their_programs():
    import gc
    import weakref

    def fn(scope, x):
        return x

    apply(lift.jit(fn))({}, 1.0)
    ref = weakref.ref(fn)
    del fn
    gc.collect()
    assert ref() is None


def test_what_cannot_be_a_key_is_compiled_each_time():
    class Unhashable:
        __hash__ = None
        traces = 0

        def __call__(self, scope, x):
            self.traces += 1
            return x

    fn = Unhashable()
    lifted = lift.jit(fn)
    assert [apply(lifted)({}, 1.0), apply(lifted)({}, 2.0)] == [1, 2]
    assert fn.traces == 1
    apply(lift.jit(fn))({}, 1.0)
    assert fn.traces == 2


def test_nested():
    layer = Counted()

    def block(scope, x):
        inner = lift.jit(layer)
        return inner(scope.push("b"), inner(scope.push("a"), x))

    def plain(scope, x):
        return layer(scope.push("b"), layer(scope.push("a"), x))

    x = jnp.ones((2, 3))
    y, variables = init(stack)(RNGS, x, lift.jit(block))
    assert layer.traces == 2
    expected_y, expected = init(stack)(RNGS, x, plain)
    assert_equal(variables, expected)
    assert_same(y, expected_y)


def test_around_and_inside_other_transforms():
    def vmapped(fn):
        return lift.vmap(fn, {"params": 0}, {"params": True, "dropout": False})

    def scanned(fn):
        def body(scope, carry, x):
            return carry, fn(scope, x)

        loop = lift.scan(
            body, {"params": 0}, split_rngs={"params": True, "dropout": True}
        )
        return lambda scope, x: loop(scope, 0, x)[1]

    x = jnp.ones((2, 3))
    for outer in (vmapped, scanned, lift.checkpoint):
        expected = init(stack)(RNGS, x, outer(Counted()))
        for fn in (lift.jit(outer(Counted())), outer(lift.jit(Counted()))):
            y, variables = init(stack)(RNGS, x, fn)
            assert_same(variables, expected[1])
            assert_same(y, expected[0])


def test_many_keys():
    def fn(scope):
        names = [f"child{i}" for i in range(70)]
        return jnp.stack([jax.random.key_data(scope.push(n).make_rng()) for n in names])

    np.testing.assert_array_equal(
        apply(lift.jit(fn))({}, rngs=KEY), apply(fn)({}, rngs=KEY)
    )


def test_keys_without_a_draw():
    def fn(scope):
        lazy = scope.rngs["params"]
        return [
            jax.random.key_data(key)
            for key in (lazy.as_jax_rng(), lazy.create(lazy, "x", 3).as_jax_rng())
        ]

    def model(scope, fn):
        return fn(scope), fn(scope.push("a"))

    a = apply(model)({}, fn, rngs=KEY)
    b = apply(model)({}, lift.jit(fn), rngs=KEY)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_key_separators():
    with config.temp_flip_flag("fix_rng_separator", True):
        expected = init(stack)(RNGS, jnp.ones((2, 3)), Counted())[1]
        found = init(stack)(RNGS, jnp.ones((2, 3)), lift.jit(Counted()))[1]
    assert_equal(expected, found)


def test_static_and_donated_arguments():
    def fn(scope, x, double, *, triple=False):
        return (2 if double else 1) * (3 if triple else 1) * x

    lifted = lift.jit(fn, static_argnums=1, static_argnames="triple", donate_argnums=0)
    x = jnp.ones(3)
    np.testing.assert_array_equal(apply(lifted)({}, x, True), [2, 2, 2])
    assert x.is_deleted()
    np.testing.assert_array_equal(
        apply(lifted)({}, jnp.ones(1), False, triple=True), [3]
    )


def test_filters():
    def read(scope):
        return (
            scope.get_variable("params", "w", 0.0),
            float(scope.has_rng("params")),
        )

    variables = {"params": {"w": 1.0}}
    assert apply(lift.jit(read))(variables, rngs=KEY) == (1, 1)
    lifted = lift.jit(read, variables="state", rngs="dropout")
    assert apply(lifted)(variables, rngs=KEY) == (0, 0)


def test_without_compiling():
    with jax.disable_jit():
        y = init(stack)(RNGS, jnp.ones((2, 3)), lift.jit(Counted()))
    expected = init(stack)(RNGS, jnp.ones((2, 3)), Counted())
    assert_same(y, expected)


def test_an_error_while_tracing_is_not_remembered():
    calls = []

    def fn(scope, x):
        calls.append(scope.path)
        if len(calls) == 1:
            raise KeyError("first")
        return scope.param("w", jax.random.normal, ()) * x

    with pytest.raises(KeyError, match="first"):
        init(lift.jit(fn))(KEY, 1.0)
    _, variables = init(lift.jit(fn))(KEY, 1.0)
    assert variables == init(fn)(KEY, 1.0)[1]


def test_an_interrupt_as_a_call_begins_leaves_no_call(monkeypatch):
    class Interrupting(list):
        def append(self, call):
            super().append(call)
            raise KeyboardInterrupt

    calls = sys.modules[lift.jit.__module__]._calls
    with monkeypatch.context() as patch:
        patch.setattr(calls, "stack", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            init(lift.jit(Counted()))(RNGS, jnp.ones((2, 3)))
        assert calls.stack == []
    assert init(lift.jit(Counted()))(RNGS, jnp.ones((2, 3)))


@pytest.mark.parametrize("transform", ["jit", "fold_rngs"])
def test_streams_start_anew(transform):
    base = LazyRng(KEY)

    def draw(scopes):
        return [scope.make_rng("params") for scope in scopes]

    lifted = getattr(lift, transform)(draw)

    def model(scope):
        a, b = scope.push("a"), scope.push("b")
        a.make_rng("params")
        inside = [lifted([a.folded(), b]) for _ in range(2)]
        return inside, a.make_rng("params"), scope.make_rng("params")

    with config.temp_flip_flag("jit_folds_rngs", True):
        (inside, after, other), _ = init(model)(KEY)
    first, second = (LazyRng(base.below("a").draw(n)) for n in (2, 4))
    assert inside == [
        [first.draw(3), base.draw(1)],
        [second.draw(5), base.draw(2)],
    ]
    assert after == base.below("a").draw(6)
    assert other == base.draw(1)


def test_keys_that_start_anew_follow_the_separator():
    def model(scope):
        return lift.jit(lambda scope: scope.push("a").make_rng("params"))(scope)

    keys = []
    with config.temp_flip_flag("jit_folds_rngs", True):
        for flag in (False, True):
            with config.temp_flip_flag("fix_rng_separator", flag):
                keys.append(init(model)(KEY)[0])
                assert keys[-1] == LazyRng(KEY, ("a",)).draw(1)
    assert keys[0] != keys[1]


DEVICE = jax.devices()[0]


@pytest.mark.parametrize(
    ("by_position", "options"),
    [
        # As documented, without `static_argnames`.
        (((), (1,)), {"donate_argnums": (1,)}),
        (((), 1), {"donate_argnums": (1,)}),
        ((0, (1,), DEVICE), {"donate_argnums": (1,), "device": DEVICE}),
        (((), (), None, "cpu"), {"backend": "cpu"}),
        (((), (1,), None, "cpu"), {"donate_argnums": (1,), "backend": "cpu"}),
        # As in later versions.
        (((), ("a", "b"), (1,)), {"donate_argnums": (1,), "names": ("a", "b")}),
        (((), "a"), {"names": ("a",)}),
        (((), "a", (), DEVICE, "cpu"), {"names": ("a",), "device": DEVICE}),
        (((), (), (1,)), {"donate_argnums": (1,)}),
    ],
)
def test_positions_of_both_generations(by_position, options, monkeypatch):
    given = {}
    monkeypatch.setattr(jax, "jit", lambda fn, **kwargs: given.update(kwargs))
    lift.jit(lambda scope, *args, **kwargs: None, True, True, *by_position)
    # The function that is compiled has four arguments in front.
    donated = tuple([n + 4 for n in options.get("donate_argnums", ())])
    assert given["donate_argnums"] == donated
    assert given["static_argnames"] == options.get("names", ())
    for name in ("device", "backend"):
        if name in options:
            assert given[name] == options[name]
        elif "cpu" not in by_position:
            assert name not in given

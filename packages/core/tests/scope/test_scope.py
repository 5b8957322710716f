"""Tests of batiste.core.scope.scope: life, names, variables, streams and flags."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import (
    Scope,
    apply,
    bind,
    errors,
    init,
    unfreeze,
)
from batiste.core.config import config

KEY = jax.random.key(0)


def ones(key, shape=()):
    return jnp.ones(shape)


def state_of(scope):
    """Everything of a scope that can change."""
    reserved = {n: set(c) for n, c in scope.reservations.items() if c}
    return unfreeze(scope.variables()), scope.rng_counters, reserved


def unchanged_by(scope, error, match, fn):
    before = state_of(scope)
    with pytest.raises(error, match=match):
        fn()
    assert state_of(scope) == before


# Lifetime.


def test_scopes_end_with_the_call():
    kept = []
    apply(lambda s: kept.extend([s, s.push("a")]))({})
    for scope, path in zip(kept, ["/", "/a"], strict=True):
        assert scope.invalid
        for use in [
            lambda s: s.push("b"),
            lambda s: s.put_variable("state", "x", 1),
            lambda s: s.make_rng(),
            lambda s: s.rewound(),
        ]:
            with pytest.raises((errors.InvalidScopeError, errors.InvalidRngError)):
                use(scope)
        with pytest.raises(errors.InvalidScopeError, match=f'Scope "{path}" is closed'):
            scope.push("b")


def test_temporary_ends_the_tree():
    with bind({}).temporary() as scope:
        child = scope.push("a")
        assert not child.invalid
    assert child.invalid
    assert scope.invalid


def test_an_error_ends_the_tree():
    kept = []

    def fn(scope):
        kept.append(scope)
        raise KeyError

    with pytest.raises(KeyError):
        apply(fn)({})
    assert kept[0].invalid


def test_a_tree_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        scope = bind({}, mutable=True)
        child = scope.push("a").push("b")
        child.put_variable("state", "x", 1)
        ref = weakref.ref(scope)
        del scope, child
        assert ref() is None
    finally:
        gc.enable()


# The tree.


def test_places():
    root = bind({})
    a = root.push("a")
    b = a.push("b")
    assert (b.name, b.path, b.path_text) == ("b", ("a", "b"), "/a/b")
    assert b.root is root
    assert b.parent is a
    assert root.root is root
    assert root.path_text == "/"
    assert repr(b) == "Scope('/a/b', mutable=False)"
    shown = Scope({}, name="b", path=("a", "b"), debug_path=("a", "vmap(b)"))
    assert shown.path_text == "/a/vmap(b)"
    assert shown.path == ("a", "b")


def test_equality_is_of_places():
    root = bind({})
    a = root.push("a")
    assert a == a.rewound()
    assert hash(a) == hash(a.rewound())
    assert a == root.push("a", reuse=True)
    assert a != root
    assert a != root.push("b")
    assert a != bind({}).push("a")
    assert a != "a"


def test_names():
    scope = bind({})
    assert [scope.push(prefix="x_").name for _ in range(3)] == ["x_0", "x_1", "x_2"]
    scope.reserve("y_1")
    assert [scope.push(prefix="y_").name for _ in range(2)] == ["y_0", "y_2"]
    assert scope.default_name("z_") == scope.default_name("z_") == "z_0"
    assert scope.name_reserved("x_0")
    assert not scope.name_reserved("x_9")


def test_names_that_are_taken():
    scope = bind({"state": {"n": 1}, "other": {"n": 1}}).push("here", reuse=False)
    scope.push("a")
    message = 'Duplicate use of scope name: "a" in "/here"'
    unchanged_by(scope, ValueError, message, lambda: scope.push("a"))
    unchanged_by(scope, ValueError, message, lambda: scope.param("a", ones))
    assert scope.push("a", reuse=True).path == ("here", "a")
    with pytest.raises(TypeError, match='must be a string, but 3 in "/here"'):
        scope.push(3)


def test_the_same_name_in_several_collections():
    def fn(scope):
        scope.variable("state", "n", lambda: 1)
        scope.variable("other", "n", lambda: 1)
        assert scope.name_reserved("n", "state")
        assert not scope.name_reserved("n", "x")
        for col in ("state", None):
            with pytest.raises(ValueError, match='"n" in "/"'):
                scope.reserve("n", col)

    apply(fn, mutable=True)({})


def test_rewound_scopes_share_variables():
    def fn(scope):
        a = scope.param("w", jax.random.normal)
        b = scope.rewound().param("w", jax.random.normal)
        return a, b

    (a, b), _ = init(fn)(KEY)
    assert a == b


def test_child():
    def layer(scope, x, scale=1):
        return scope.param("w", ones) * x * scale

    def fn(scope, x):
        first = scope.child(layer)
        named = scope.child(layer, "named", scale=3)
        prefixed = scope.child(layer, prefix="p", named_call=False)
        return first(first(x)), named(x), named(x, scale=2), prefixed(x)

    y, variables = init(fn)(KEY, 2.0)
    assert y == (2, 6, 4, 2)
    assert sorted(variables["params"]) == ["layer_0", "named", "p0"]


# Variables.


def test_collections():
    variables = {"params": {"w": 1, "a": {"v": 2}}, "empty": {}}
    scope = bind(variables, mutable="state")
    a = scope.push("a")
    assert a.has_variable("params", "v")
    assert not a.has_variable("params", "w")
    assert a.get_variable("params", "x", 7) == 7
    assert scope.is_collection_empty("empty")
    assert scope.is_collection_empty("none")
    assert a.variables() == {"params": {"v": 2}}
    assert scope.mutable_variables() == {}
    a.put_variable("state", "n", {"x": 1})
    a.put_variable("state", "n", {"y": 2})
    assert scope.mutable_variables() == {"state": {"a": {"n": {"x": 1, "y": 2}}}}
    assert "state" not in variables


def test_variables_are_snapshots():
    scope = bind({}, mutable=True)
    scope.put_variable("state", "n", {"x": 1})
    before = scope.variables()
    scope.put_variable("state", "n", {"x": 2})
    assert before["state"]["n"]["x"] == 1


def test_errors_of_variables_leave_the_scope_unchanged():
    root = bind({"params": {"a": {"w": jnp.ones(3)}}, "state": {"a": {"n": 1}}})
    scope = root.push("a")
    unchanged_by(
        scope,
        errors.ScopeParamNotFoundError,
        'No parameter "v" in scope "/a".*"w"',
        lambda: scope.param("v", ones),
    )
    unchanged_by(
        scope,
        errors.ScopeParamShapeError,
        r'"w" in scope "/a" has shape \(3,\), but its initializer gives shape \(2,\)',
        lambda: scope.param("w", ones, (2,)),
    )
    unchanged_by(
        scope,
        errors.ScopeVariableNotFoundError,
        'No variable "m" in collection "state" of scope "/a"',
        lambda: scope.variable("state", "m", lambda: 1),
    )
    unchanged_by(
        scope,
        errors.ScopeCollectionNotFound,
        'Scope "/a" has no collection "cache"',
        lambda: scope.variable("cache", "m", lambda: 1),
    )
    unchanged_by(
        scope,
        errors.ModifyScopeVariableError,
        'Cannot write variable "n" of scope "/a"',
        lambda: scope.put_variable("state", "n", 2),
    )
    empty = bind({}).push("a")
    unchanged_by(
        empty,
        errors.ScopeCollectionNotFound,
        'Scope "/a" has no collection "params", from which "w" is read',
        lambda: empty.param("w", ones),
    )


def test_errors_of_initializers_leave_the_scope_unchanged():
    def fail(*args):
        raise KeyError("no value")

    scope = bind({}, rngs={"dropout": KEY}, mutable=True).push("a")
    unchanged_by(scope, KeyError, "no", lambda: scope.variable("state", "n", fail))
    message = '"/a" needs a PRNG key for the stream "params".*rngs={"params": key}'
    unchanged_by(scope, errors.InvalidRngError, message, lambda: scope.param("w", fail))
    assert scope.variable("state", "n", lambda: 1).value == 1
    scope = bind({}, rngs=KEY, mutable=True)
    unchanged_by(scope, KeyError, "no", lambda: scope.param("w", fail))


def test_params_that_are_trees():
    def fn(scope):
        return scope.param("w", lambda key: {"a": jnp.ones(2), "b": (jnp.zeros(3),)})

    y, variables = init(fn)(KEY)
    jax.tree.map(np.testing.assert_array_equal, dict(y), dict(apply(fn)(variables)))


def test_a_scope_in_a_transform_of_jax():
    scope = bind({"params": {"w": 1.0}}, rngs=KEY, mutable=True).push("a")
    for use in [
        lambda x: scope.push("b"),
        lambda x: scope.param("w", ones),
        lambda x: scope.put_variable("state", "x", x),
        lambda x: scope.variable("state", "x", lambda: x),
        lambda x: scope.make_rng(),
    ]:
        for transform in (jax.jit, jax.vmap, jax.grad, jax.checkpoint):
            unchanged_by(
                scope,
                errors.JaxTransformError,
                'scope "/a" was made at another trace level',
                lambda use=use, transform=transform: transform(use)(jnp.ones(2)),
            )


# Keys.


@config.temp_flip_flag("documented_checks", False)
def test_a_scope_in_a_transform_of_jax_without_documented_checks():
    def fn(scope, x):
        return jax.vmap(lambda row: row * scope.param("scale", ones, (3,)))(x)

    y, variables = init(fn)(jax.random.key(0), 2 * jnp.ones((4, 3)))
    np.testing.assert_array_equal(y, 2 * np.ones((4, 3)))
    np.testing.assert_array_equal(variables["params"]["scale"], np.ones(3))


def test_flags():
    scope = bind({}, flags={"train": False}).push("a")
    assert scope.has_flag("train")
    assert scope.get_flag("train") is False
    assert not scope.has_flag("x")
    assert scope.get_flag("x", 3) == 3
    with pytest.raises(ValueError, match=r'"x" is not set on the scope "/a".*train'):
        scope.get_flag("x")


def test_positions_of_both_generations():
    flags, path = {"training": True}, ("encoder",)
    documented = Scope({}, None, None, False, None, path, flags)
    later = Scope({}, None, None, False, None, path, ("Encoder_0",), flags)
    assert documented.flags == later.flags == flags
    assert documented.path_text == "/encoder"
    assert Scope({}, None, None, False, None, path, None).flags == {}


def test_a_child_does_not_replace_a_variable():
    def fn(scope):
        scope.param("a", lambda key: 2.0)
        scope.push("a", reuse=True).param("w", lambda key: 3.0)

    with pytest.raises(TypeError, match='"a" in "/" is a variable of the collection'):
        init(fn)(jax.random.key(0))

"""Places in the tree of scopes, and the streams that they draw from."""

import gc
import weakref

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.core import Scope, apply, bind, errors, init
from batiste.core.config import config
from batiste.core.scope.place import BY_LIFTED

KEY = jax.random.key(0)


def test_paths_are_from_the_root():
    root = Scope({})
    child = root.push("a").push("b")
    assert root.path == ()
    assert root.path_text == "/"
    assert child.path == ("a", "b")
    assert child.path_text == "/a/b"
    assert child.root is root
    assert root.root is root


def test_scopes_are_equal_at_one_place_of_one_tree():
    root = Scope({})
    child = root.push("a")
    assert child == root.push("a", reuse=True)
    assert hash(child) == hash(root.push("a", reuse=True))
    assert child != root.push("b")
    assert child != Scope({}).push("a")
    assert child != "a"


def test_a_path_of_thousands_of_names():
    scope = Scope({})
    for _ in range(5000):
        scope = scope.push("x")
    assert len(scope.path) == 5000
    assert scope.root.path == ()


def test_a_tree_is_freed_without_the_garbage_collector():
    root = Scope({})
    child = root.push("a").push("b")
    gone = weakref.ref(root)
    gc.disable()
    try:
        del root, child
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("relaxed", [True, False])
def test_one_name_in_two_collections(relaxed):
    def fn(scope):
        scope.variable("state", "a", lambda: 1)
        return scope.param("a", lambda key: 2)

    with config.temp_flip_flag("relaxed_naming", relaxed):
        if relaxed:
            _, variables = init(fn)(jax.random.key(0))
            assert variables == {"state": {"a": 1}, "params": {"a": 2}}
        else:
            with pytest.raises(ValueError, match='Duplicate use of scope name: "a"'):
                init(fn)(jax.random.key(0))


@pytest.mark.parametrize("relaxed", [True, False])
def test_a_name_that_a_variable_has_elsewhere(relaxed):
    with config.temp_flip_flag("relaxed_naming", relaxed):
        scope = Scope({})
        scope.reservations["a"] = {BY_LIFTED}
        assert scope.name_reserved("a")
        assert not scope.name_reserved("a", "params")
        with pytest.raises(ValueError, match="Duplicate use of scope name"):
            scope.reserve("a")
        scope.reserve("a", "params")
        # From now on it is an ordinary variable's.
        assert scope.name_reserved("a", "state") is not relaxed
        assert scope.name_reserved("a", "params")


def test_streams():
    def fn(scope):
        a = scope.push("a")
        assert a.has_rng("dropout")
        assert not a.has_rng("noise")
        assert a.rngs["dropout"].suffix == ("a",)
        keys = [a.make_rng("dropout"), a.make_rng("dropout"), a.make_rng("noise")]
        assert a.rng_counters == {"params": 1, "dropout": 2}
        keys.append(scope.push("a", reuse=True).make_rng("dropout"))
        keys.append(scope.make_rng("dropout"))
        keys.append(a.rewound(rewind_rngs=True).make_rng("dropout"))
        return [jax.random.key_data(key).tolist() for key in keys]

    keys = apply(fn)({}, rngs={"params": KEY, "dropout": jax.random.key(1)})
    assert len(set(map(str, keys[:-1]))) == 5
    assert keys[-1] == keys[0]


def test_a_missing_stream():
    scope = bind({}, rngs={"dropout": KEY}).push("a")
    text = r"""stream "noise", but the call was given \['dropout'\]"""
    with pytest.raises(errors.InvalidRngError, match=text):
        scope.make_rng("noise")
    assert scope.rng_counters == {"dropout": 0}


def folds(jaxpr):
    """How many keys a program derives, those of the jaxprs inside included."""
    params = [p for equation in jaxpr.eqns for p in equation.params.values()]
    inner = [p.jaxpr for p in params if hasattr(p, "jaxpr")]
    return sum(e.primitive.name == "random_fold_in" for e in jaxpr.eqns) + sum(
        map(folds, inner)
    )


def two_params(scope, first, second):
    made = [
        scope.param("first", first, (3,), "float32"),
        scope.param("second", second, (3,), "float32"),
    ]
    return made, scope.rng_counters["params"]


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize(
    "blank",
    [
        jax.nn.initializers.zeros,
        jax.nn.initializers.ones,
        jax.nn.initializers.constant(2.5),
    ],
    ids=["zeros", "ones", "constant"],
)
def test_a_key_that_is_not_read_is_counted_but_not_computed(blank, typed):
    normal = jax.nn.initializers.normal()
    key = KEY if typed else jax.random.PRNGKey(0)

    def unknown(key, shape, dtype):
        return blank(key, shape, dtype)

    for first, second in ((blank, normal), (normal, blank)):
        # With an initializer that may look at its key, everything is the same.
        others = [unknown if fn is blank else fn for fn in (first, second)]

        def run(key, fns=(first, second)):
            return init(two_params)(key, *fns)[0]

        def expected(key, fns=others):
            return init(two_params)(key, *fns)[0]

        made, drawn = run(key)
        assert drawn == expected(key)[1] == 2
        np.testing.assert_array_equal(made, expected(key)[0])
        keys = jnp.stack([key, key])
        for transform in (
            jax.jit,
            lambda fn: jax.vmap(fn, out_axes=(0, None)),
            lambda fn: jax.jit(jax.vmap(fn, out_axes=(0, None))),
        ):
            given = key if transform is jax.jit else keys
            made = [transform(fn)(given)[0] for fn in (run, expected)]
            np.testing.assert_array_equal(*made)
        if typed:
            assert folds(jax.make_jaxpr(run)(key).jaxpr) == 1
            assert folds(jax.make_jaxpr(expected)(key).jaxpr) == 2


def test_a_key_that_is_not_read_needs_its_stream_all_the_same():
    scope = Scope({}, mutable=True).push("a")
    text = 'stream "params", but the call was given no streams'
    with pytest.raises(errors.InvalidRngError, match=text):
        scope.param("bias", jax.nn.initializers.zeros, (3,))
    assert not scope.name_reserved("bias")
    assert not scope.variables()


def test_a_key_from_outside_of_a_program_leaves_the_operations_in_it():
    def run(x):
        scope = bind({}, rngs={"params": KEY}, mutable=True)
        return x + scope.param("bias", jax.nn.initializers.zeros, (3,), "float32")

    program = jax.make_jaxpr(run)(jnp.ones(3)).jaxpr
    names = [equation.primitive.name for equation in program.eqns]
    assert names[-2:] == ["broadcast_in_dim", "add"]
    np.testing.assert_array_equal(jax.jit(run)(jnp.ones(3)), np.ones(3))

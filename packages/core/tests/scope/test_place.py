"""Places in the tree of scopes."""

import gc
import weakref

import jax
import pytest

from batiste.core import Scope, init
from batiste.core.config import config
from batiste.core.scope.place import BY_LIFTED


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

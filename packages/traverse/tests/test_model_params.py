import collections
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.traverse import (
    ModelParamTraversal,
    NotTraversableError,
    PathKeyError,
    TraverseValuesError,
    flatten_dict,
    t_identity,
)

trees = st.dictionaries(
    st.text("abk", min_size=1, max_size=2),
    st.recursive(
        st.integers(),
        lambda inner: st.dictionaries(
            st.text("abk", min_size=1, max_size=2), inner, max_size=4
        ),
    ),
    max_size=4,
)


class FrozenTree(Mapping):
    """Freezes nested dicts and counts how many entries it copied to do so."""

    copied = 0

    def __init__(self, content):
        self._content = {}
        for key, value in content.items():
            FrozenTree.copied += 1
            self._content[key] = FrozenTree(value) if type(value) is dict else value

    def unfreeze(self):
        raise AssertionError("would copy everything")

    def __getitem__(self, key):
        return self._content[key]

    def __iter__(self):
        return iter(self._content)

    def __len__(self):
        return len(self._content)


def everything(name, value):
    return True


def kernels(name, value):
    return name.endswith("/kernel")


def test_the_masks_of_the_specification():
    params = {"dense": {"kernel": 1, "bias": 2}, "out": {"kernel": 3, "bias": 4}}
    all_false = {
        "dense": dict.fromkeys(params["dense"], False),
        "out": {"kernel": False},
    }
    mask = ModelParamTraversal(lambda p, _: "kernel" in p).update(
        lambda _: True, all_false
    )
    assert mask == {"dense": {"kernel": True, "bias": False}, "out": {"kernel": True}}


def test_names_and_values_in_sorted_order():
    seen = []

    def note(name, value):
        seen.append((name, value))
        return "k" in name

    xs = {"k": {"z": 3}, "b": 1, "a": {"k": 1, "b": {}}, "e": {}, "l": [{"k": 2}]}
    assert list(ModelParamTraversal(note).iterate(xs)) == [1, 3]
    assert seen == [("/a/k", 1), ("/b", 1), ("/k/z", 3), ("/l", [{"k": 2}])]


def test_update_keeps_the_rest_and_the_order_of_keys():
    xs = {"k": {"z": 3}, "b": 1, "a": {"k": 1, "b": {}}, "e": {}}
    new = ModelParamTraversal(lambda name, _: "k" in name).update(str, xs)
    assert new == {"k": {"z": "3"}, "b": 1, "a": {"k": "1", "b": {}}, "e": {}}
    assert list(new) == list(xs)
    assert xs["k"] == {"z": 3}


def test_names_that_look_the_same_are_two_parameters():
    xs = {"a/b": {"k": 1}, "a": {"b/k": 2}}
    assert list(ModelParamTraversal(everything).iterate(xs)) == [2, 1]
    assert ModelParamTraversal(everything).set([5, 6], xs) == {
        "a/b": {"k": 6},
        "a": {"b/k": 5},
    }


def test_set_and_chains():
    xs = {"a": {"kernel": 1}, "kernel": 2}
    assert ModelParamTraversal(kernels).set([5, 6], xs) == {
        "a": {"kernel": 5},
        "kernel": 6,
    }
    with pytest.raises(TraverseValuesError, match=r"ModelParamTraversal\(kernels\)"):
        ModelParamTraversal(kernels).set([5], xs)
    chain = t_identity["params"].compose(ModelParamTraversal(kernels)).each()
    assert chain.update(lambda x: -x, {"params": {"kernel": [1, 2]}}) == {
        "params": {"kernel": [-1, -2]}
    }


def test_new_values_may_be_dictionaries():
    assert ModelParamTraversal(everything).update(lambda x: {}, {"a": 1}) == {"a": {}}


def test_every_mapping_keeps_its_type():
    xs = collections.OrderedDict(
        b=FrozenTree({"k": 1, "c": {"k": 2}}),
        a={"k": collections.defaultdict(list, z=1), "f": FrozenTree({})},
    )
    new = ModelParamTraversal(everything).update(str, xs)
    assert type(new) is collections.OrderedDict
    assert list(new) == ["b", "a"]
    assert type(new["b"]) is type(new["b"]["c"]) is type(new["a"]["f"]) is FrozenTree
    assert new["b"]["c"]["k"] == "2"
    assert type(new["a"]) is dict
    assert new["a"]["k"] == {"z": "1"}
    assert new["a"]["k"].default_factory is list


def test_frozen_mappings_are_made_once():
    tree = {"leaf": 0}
    for _ in range(100):
        tree = {"a": tree, "leaf": 0}
    frozen = FrozenTree(tree)
    FrozenTree.copied = 0
    ModelParamTraversal(everything).update(lambda x: x + 1, frozen)
    assert FrozenTree.copied == 201


@pytest.mark.parametrize("bad", [[1], None, 3, ("a",)])
def test_only_mappings_are_taken(bad):
    for use in (
        lambda: list(ModelParamTraversal(everything).iterate(bad)),
        lambda: ModelParamTraversal(everything).update(str, bad),
    ):
        with pytest.raises(
            NotTraversableError, match=f"value of type {type(bad).__name__}"
        ):
            use()
        with pytest.raises(ValueError, match="needs a nested dictionary"):
            use()


def test_keys_must_be_strings():
    with pytest.raises(PathKeyError, match=r"mapping at '/a' has the key 1 \(int\)"):
        ModelParamTraversal(everything).update(str, {"a": {1: 2}})
    with pytest.raises(
        TypeError, match=r"mapping at '/' has the key \('t',\) \(tuple\)"
    ):
        list(ModelParamTraversal(everything).iterate({("t",): 2}))


def test_cycles_are_an_error():
    xs = {"a": {"b": {}}}
    xs["a"]["b"]["c"] = xs["a"]
    with pytest.raises(NotTraversableError, match="at '/a/b/c' contains itself"):
        list(ModelParamTraversal(everything).iterate(xs))


@given(trees)
def test_it_selects_what_flatten_dict_gives(xs):
    flat = flatten_dict(xs)
    traversal = ModelParamTraversal(everything)
    assert list(traversal.iterate(xs)) == [flat[path] for path in sorted(flat)]
    assert traversal.update(lambda x: x, xs) == xs
    assert flatten_dict(traversal.update(lambda x: -x, xs)) == {
        path: -x for path, x in flat.items()
    }


@pytest.mark.parametrize("levels", [900, 20_000])
def test_deep_trees(levels):
    xs = {"kernel": 1}
    for _ in range(levels):
        xs = {"a": xs}
    new = ModelParamTraversal(kernels).update(lambda x: x + 1, xs)
    assert list(ModelParamTraversal(kernels).iterate(new)) == [2]


def test_a_hundred_thousand_leaves():
    xs = {str(i): {str(j): {"kernel": j} for j in range(100)} for i in range(1000)}
    new = ModelParamTraversal(kernels).update(lambda x: -x, xs)
    assert sum(ModelParamTraversal(kernels).iterate(new)) == -1000 * sum(range(100))

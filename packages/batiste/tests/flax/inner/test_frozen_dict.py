"""A subclass of FrozenDict that prepares what it is given."""


def test_prepare_freeze(flax):
    from flax.core.frozen_dict import FrozenDict, _prepare_freeze

    tree = {"a": FrozenDict({"b": {"c": 1}}), "l": [{}]}
    plain = _prepare_freeze(tree)
    assert plain == {"a": {"b": {"c": 1}}, "l": [{}]}
    assert type(plain["a"]) is type(plain["a"]["b"]) is dict
    assert plain is not tree
    assert _prepare_freeze(3) == 3
    assert FrozenDict(plain) == FrozenDict(tree)

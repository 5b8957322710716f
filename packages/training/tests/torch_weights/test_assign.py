"""Which layer is which; and what is asked where that is not clear."""

import pytest

from batiste.training.errors import AmbiguousTorchWeightsError
from batiste.training.torch_weights.assign import assign
from batiste.training.torch_weights.linen_units import LinenUnit
from batiste.training.torch_weights.names import parse_rules
from batiste.training.torch_weights.torch_units import TorchUnit


def _linen(path, shape):
    key = {"weight": ("params", path, "kernel")}
    kind = {1: "norm", 2: "dense", 4: "conv"}[len(shape)]
    return LinenUnit(path, kind, key, {"weight": shape})


def _torch(name, shape):
    return TorchUnit(name, {"weight": f"{name}.weight"}, {"weight": shape})


def _found(linen, torch, rules=None, in_order=True, same=lambda a, b: False):
    """The names of what is matched, of layers with the shape (4, 4) by default."""
    linen = [x if isinstance(x, tuple) else (x, (4, 4)) for x in linen]
    torch = [x if isinstance(x, tuple) else (x, (4, 4)) for x in torch]
    matches, missing, left = assign(
        [_linen(*x) for x in linen],
        [_torch(*x) for x in torch],
        parse_rules(rules),
        in_order,
        same,
    )
    pairs = {match.linen.path: match.torch.name for match in matches}
    return pairs, [unit.path for unit in missing], [unit.name for unit in left]


def _pairs(*args, **kwargs):
    pairs, missing, left = _found(*args, **kwargs)
    assert missing == left == []
    return pairs


def test_names_without_words_follow_the_order():
    found = _pairs(["Dense_0", "Dense_1"], ["fc1", "fc2"])
    assert found == {"Dense_0": "fc1", "Dense_1": "fc2"}


def test_clear_names_count_for_more_than_the_order():
    paths = [f"layer_{i}/{n}" for i in range(3) for n in ("query", "key", "value")]
    names = [f"layers.{i}.{n}_proj" for i in range(3) for n in "kvq"]
    found = _pairs(paths, names)
    assert found["layer_2/query"] == "layers.2.q_proj"
    assert found["layer_0/value"] == "layers.0.v_proj"
    assert _pairs(paths, sorted(names), in_order=False) == found


def test_names_that_contradict_the_order_in_part_are_asked_for():
    with pytest.raises(AmbiguousTorchWeightsError) as caught:
        _pairs(["query", "Dense_0", "Dense_1"], ["a", "b", "q"])
    assert set(caught.value.rules) == {"a", "b", "q"}


def test_numbers_that_contradict_the_order_are_asked_for():
    with pytest.raises(AmbiguousTorchWeightsError) as caught:
        _pairs(["up_1", "up_0"], ["ups.0", "ups.1"])
    assert caught.value.rules == {"ups.0": "up_1", "ups.1": "up_0"}
    assert str(caught.value) == (
        'Two answers are possible for "ups.0", "ups.1": by shape and kind each can be '
        'each of "up_1", "up_0", and the order in which they run and their names do '
        'not tell. They may be {"ups.0": "up_1", "ups.1": "up_0"} or {"ups.1": "up_1", '
        '"ups.0": "up_0"}. Say which with a rule, such as '
        "rules={'ups.0': 'up_1', 'ups.1': 'up_0'}."
    )
    for rules in (caught.value.rules, {"ups.1": "up_1", "ups.0": "up_0"}):
        found = _pairs(["up_1", "up_0"], ["ups.0", "ups.1"], rules)
        assert {name: path for path, name in found.items()} == rules


def test_without_order_other_words_are_asked_for():
    paths = [f"Block_{i}/Dense_{j}" for i in range(2) for j in range(2)]
    names = [f"layer.{i}.{n}" for i in range(2) for n in ("fast", "slow")]
    assert _pairs(paths, names)["Block_1/Dense_1"] == "layer.1.slow"
    with pytest.raises(
        AmbiguousTorchWeightsError, match="order is alphabetic"
    ) as caught:
        _pairs(paths, names, in_order=False)
    assert caught.value.rules == {
        "layer.*.fast": "Block_*/Dense_0",
        "layer.*.slow": "Block_*/Dense_1",
    }
    rules = {"layer.*.slow": "Block_*/Dense_0"}
    found = _pairs(paths, names, rules, in_order=False)
    assert found["Block_1/Dense_0"] == "layer.1.slow"
    assert found["Block_0/Dense_1"] == "layer.0.fast"


def test_without_order_numbers_give_it():
    paths = [f"Dense_{i}" for i in range(12)]
    names = [f"fc{i}" for i in range(12)]
    found = _pairs(paths, names, in_order=False)
    assert found == dict(zip(paths, names, strict=True))


def test_a_shortcut_that_runs_first_is_told_by_its_neighbours():
    norm, conv = (4,), (1, 1, 4, 4)
    linen = [
        ("Conv_0", (1, 1, 8, 4)),
        ("BatchNorm_0", norm),
        ("Conv_1", (3, 3, 8, 4)),
        ("BatchNorm_1", norm),
        ("Conv_2", conv),
        ("BatchNorm_2", norm),
    ]
    torch = [
        ("conv1", (4, 8, 3, 3)),
        ("bn1", norm),
        ("conv2", (4, 4, 1, 1)),
        ("bn2", norm),
        ("downsample.0", (4, 8, 1, 1)),
        ("downsample.1", norm),
    ]
    assert _pairs(linen, torch) == {
        "Conv_0": "downsample.0",
        "BatchNorm_0": "downsample.1",
        "Conv_1": "conv1",
        "BatchNorm_1": "bn1",
        "Conv_2": "conv2",
        "BatchNorm_2": "bn2",
    }
    # In an order of definition that has other neighbours, the order alone counts.
    torch = [torch[i] for i in (0, 2, 4, 1, 3, 5)]
    found = _pairs([linen[i] for i in (2, 3, 4, 5, 0, 1)], torch)
    assert found["BatchNorm_1"] == "bn1"
    assert found["BatchNorm_0"] == "downsample.1"


def test_of_unequal_numbers_only_what_names_tell_is_matched():
    found = _found(["query", "Dense_0"], ["k", "q", "x"])
    assert found == ({"query": "q"}, ["Dense_0"], ["k", "x"])
    assert _found(["query", "key"], ["a"]) == ({}, ["query", "key"], ["a"])


def test_a_tensor_that_is_another_once_more_is_left():
    found = _found(["embed"], ["wte", "head"], same=lambda a, b: True)
    assert found == ({"embed": "wte"}, [], ["head"])


def test_a_rule_that_asks_for_what_does_not_fit_leaves_both():
    found = _found(["a", ("b", (2, 2))], ["x", ("y", (2, 2))], {"x": "b"})
    assert found == ({}, ["a", "b"], ["x", "y"]) or found[0] == {}
    assert "a" in found[1]
    assert "x" in found[2]


def test_two_conversions_are_asked_for_and_a_rule_tells():
    linen = [LinenUnit("m", "value", {"weight": ("params", "m")}, {"weight": (4, 4)})]
    torch = [_torch("m", (4, 4))]

    def run(rules=None):
        return assign(linen, torch, parse_rules(rules), True, lambda a, b: False)[0]

    with pytest.raises(AmbiguousTorchWeightsError) as caught:
        run()
    assert caught.value.rules == {"m": "m as transpose"}
    assert run(caught.value.rules)[0].conversion.how == "transpose"
    assert run({"m": "m as as it is"})[0].conversion.how == "as it is"
    assert run({"m": "m as flip"}) == []


def test_nothing_matches_nothing():
    assert _found([], []) == ({}, [], [])
    assert _found([], ["x"]) == ({}, [], ["x"])

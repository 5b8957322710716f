"""Words, numbers and patterns of names; rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.training.errors import TorchRuleError
from batiste.training.torch_weights.names import (
    Rule,
    natural,
    numbers,
    parse_rules,
    pattern,
    scores,
    starred,
    words,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("q_proj", "query_projection"),
        ("attn.k", "attention/key"),
        ("ln_1", "norm_2"),
        ("LayerNorm_0", "layernorm"),
        ("transformer.wte", "transformer/token_embed"),
        ("wpe", "position_embeddings"),
        ("downsample.0", "shortcut"),
        ("lstm_l0_reverse", "lstm/backward"),
        ("layers.3.fc", "block_1/Dense_0"),
    ],
)
def test_these_say_the_same(one, other):
    assert words(one) == words(other)


def test_other_words_differ():
    assert words("query") != words("key")
    assert words("encoder.fc") != words("decoder.fc")


def test_numbers_and_patterns():
    assert numbers("layer2.0.bn1") == (2, 0, 1)
    assert pattern("layer2.10.bn1") == "layer*.*.bn*"


def test_numbers_that_vary_are_stars():
    assert starred(["h.0.fc1", "h.12.fc1"]) == "h.*.fc1"
    assert starred(["h.0.fc1"]) == "h.0.fc1"
    assert starred(["h.0.a", "h.1.b"]) == "h.0.a"


@given(st.lists(st.integers(0, 200), unique=True))
def test_natural_order_is_that_of_numbers(found):
    names = [f"h.{i}.w" for i in found]
    assert sorted(names, key=natural) == [f"h.{i}.w" for i in sorted(found)]


def test_natural_order_takes_names_with_and_without_numbers():
    assert sorted(["h.a", "h.1", "2.h"], key=natural) == ["h.a", "h.1", "2.h"]


def test_what_all_have_does_not_count():
    found = scores(["a/attn/query", "a/attn/key"], ["attn.k", "attn.q"])
    assert found == [[0.0, 1.0], [1.0, 0.0]]
    assert scores(["x/attn"], ["y.attn", "y.mlp"])[0][0] > 0
    assert scores([], []) == []


def test_rules_are_read():
    found = parse_rules(
        {"h.*.attn": "h_*/attention", "fc": "fc as transpose", "x": None}
    )
    assert found == [
        Rule("h.*.attn", "h_*/attention", None),
        Rule("fc", "fc", "transpose"),
        Rule("x", None, None),
    ]
    assert found[0].of_torch(["h.12.attn"])
    assert not found[0].of_torch(["h.12.attn.weight"])
    assert found[0].of_path(["h_3/attention"])
    assert not found[2].of_path(["x"])
    assert parse_rules(None) == []


@pytest.mark.parametrize("rules", [{1: "a"}, {"a": 1}, {"a": ["b"]}])
def test_rules_of_another_kind_are_refused(rules):
    with pytest.raises(TorchRuleError, match="is not a pattern of names of tensors"):
        parse_rules(rules)

"""Renaming submodules from before Linen."""

import pytest

from batiste.core import freeze
from batiste.core.frozen_dict import FrozenDict
from batiste.training.checkpoints import convert_pre_linen


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"Conv_0": 1, "Dense_1": 2}, {"Conv_0": 1, "Dense_0": 2}),
        (
            {"Conv_0": 1, "Conv_2": 2, "Conv_9": 3, "Conv_10": 4, "Dense_1": 5},
            {"Conv_0": 1, "Conv_1": 2, "Conv_2": 3, "Conv_3": 4, "Dense_0": 5},
        ),
        (
            {"Block_3": {"Foo_3": {"Bar_5": 1}, "kernel": 2}},
            {"Block_0": {"Foo_0": {"Bar_0": 1}, "kernel": 2}},
        ),
        ({"my_block_4": 1, "head": 2, 3: 4}, {"my_block_0": 1, "head": 2, 3: 4}),
        ({"Dense_0": 1, "Dense_1": 2}, {"Dense_0": 1, "Dense_1": 2}),
        (7, 7),
        ({}, {}),
    ],
)
def test_submodules_are_counted_by_class(before, after):
    assert convert_pre_linen(before) == after
    assert convert_pre_linen(after) == after


def test_the_kind_of_dictionary_is_kept():
    converted = convert_pre_linen(freeze({"Conv_1": {"Dense_2": 1}}))
    assert type(converted) is FrozenDict
    assert converted == freeze({"Conv_0": {"Dense_0": 1}})

"""Examples share nothing; what two of them have in common is in both, and the same."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    "name",
    [
        "blocks",
        "journal",
        "layout",
        "loader",
        "packed_dataset",
        "processes",
        "tokenizer",
    ],
)
def test_wmt_and_lm1b_have_the_same(name):
    one, other = (EXAMPLES / e / f"{name}.py" for e in ("wmt", "lm1b"))
    assert one.read_text("utf-8") == other.read_text("utf-8")

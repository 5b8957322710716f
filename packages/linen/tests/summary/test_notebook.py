"""Tests of batiste.linen.summary.notebook."""

import copy
import pickle
import re

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.linen.summary.notebook import children_of, rows_html, total_of

KEY = jax.random.key(0)
X = jnp.ones((16, 9))
PLAIN = {"force_terminal": False, "no_color": True, "width": 120}


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel_init = nn.with_partitioning(nn.initializers.ones, ("in", None))
        return nn.BatchNorm(True)(nn.Dense(9, kernel_init=kernel_init)(x))


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        block = Block(name="block")
        return nn.Dense(2)(block(block(x)))


def lines(shown: str | None) -> list[str]:
    assert shown is not None
    shown = shown.replace("</div>", "\n").replace("</summary>", "\n")
    return [line for line in re.sub("<[^>]*>", "", shown).splitlines() if line]


def test_a_table_is_a_tree():
    table = Net().tabulate(KEY, X, console_kwargs=PLAIN)
    assert lines(table._repr_html_()) == [
        "Net float32[16,9] \u2192 float32[16,2] 146 (584 B)",
        "block: Block float32[16,9] \u2192 float32[16,9] 126 (504 B)",
        "Dense_0: Dense float32[16,9] \u2192 float32[16,9] 90 (360 B)",
        "params bias: float32[9] 9 (36 B)",
        "params kernel: float32[9,9] 81 (324 B) P(&#x27;in&#x27;, None)",
        "BatchNorm_0: BatchNorm float32[16,9] \u2192 float32[16,9] 36 (144 B)",
        "batch_stats mean: float32[9] 9 (36 B)",
        "batch_stats var: float32[9] 9 (36 B)",
        "params bias: float32[9] 9 (36 B)",
        "params scale: float32[9] 9 (36 B)",
        "Dense_0: Dense float32[16,9] \u2192 float32[16,2] 20 (80 B)",
        "params bias: float32[2] 2 (8 B)",
        "params kernel: float32[9,2] 18 (72 B)",
    ]
    assert table._repr_html_().count("<details") == 5
    assert table._repr_html_().count("<details open") == 1
    assert nn.tabulate(Net(), KEY)(X)._repr_html_() == table._repr_html_()
    assert table.rows._repr_html_() == table._repr_html_()


def test_what_is_not_shown_counts_above():
    table = Net().tabulate(KEY, X, depth=1)
    shown = lines(table._repr_html_())
    assert shown[1] == "block: Block float32[16,9] \u2192 float32[16,9] 126 (504 B)"
    assert len(shown) == 5
    inner = children_of(table.rows)
    assert inner == {-1: [0], 0: [1, 2], 1: [], 2: []}
    assert total_of(table.rows, 0, inner) == (146, 584)


def test_later_calls_have_no_variables():
    table = Net().tabulate(KEY, X, show_repeated=True)
    shown = lines(table._repr_html_())
    assert (
        shown.count("block: Block float32[16,9] \u2192 float32[16,9] 126 (504 B)") == 1
    )
    assert shown.count("block: Block float32[16,9] \u2192 float32[16,9]") == 1
    assert shown[0].endswith("146 (584 B)")


def test_costs_are_shown():
    table = nn.Dense(2).tabulate(KEY, X, compute_flops=True, compute_vjp_flops=True)
    (row,) = table.rows
    assert row.flops > 0
    assert (
        f"{row.flops:,} flops {row.vjp_flops:,} vjp_flops"
        in lines(table._repr_html_())[0]
    )


def test_what_looks_like_html_is_text():
    class Evil(nn.Module):
        @nn.compact
        def __call__(self, x, text):
            self.param("<img>", nn.initializers.ones, (2,))
            return nn.Dense(2, name="<b>x</b>")(x), text

    shown = Evil().tabulate(KEY, X, "<script>")._repr_html_()
    for tag in ("<script", "<img", "<b>x"):
        assert tag not in shown
    assert "&lt;script&gt;" in shown


def test_it_is_a_text_as_before():
    table = Net().tabulate(KEY, X, console_kwargs=PLAIN)
    assert isinstance(table, str)
    assert str(table) == "".join(list(table)) == table
    assert repr(table) == repr(str(table))
    for again in (pickle.loads(pickle.dumps(table)), copy.deepcopy(table), str(table)):
        assert type(again) is str
        assert again == table


def test_a_table_with_functions_can_be_pickled():
    table = nn.Sequential([lambda x: x]).tabulate(KEY, X)
    assert pickle.loads(pickle.dumps(table)) == table


def test_it_never_raises():
    table = Net().tabulate(KEY, X)
    table.rows[1].path = 3  # type: ignore[assignment]
    assert table._repr_html_() is None
    assert rows_html([]) is not None


@pytest.mark.parametrize("method", ["tabulate", "method"])
def test_the_rows_are_data(method):
    if method == "tabulate":
        rows = nn.tabulate(Net(), KEY)(X).rows
    else:
        rows = Net().tabulate(KEY, X).rows
    paths = ["", "block", "block/Dense_0", "block/BatchNorm_0", "Dense_0"]
    assert ["/".join(row.path) for row in rows] == paths
    assert [row.module for row in rows] == [
        "Net",
        "Block",
        "Dense",
        "BatchNorm",
        "Dense",
    ]
    assert (rows[4].inputs.shape, rows[4].outputs.shape) == ((16, 9), (16, 2))
    bias, kernel = rows[2].variables["params"]
    assert bias == ("bias", (9,), "float32", 9, 36, None)
    assert (kernel.name, kernel.shape, kernel.names) == ("kernel", (9, 9), ("in", None))
    assert [v.name for v in rows[3].variables["batch_stats"]] == ["mean", "var"]
    assert rows[0].variables == {}

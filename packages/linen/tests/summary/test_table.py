"""Tests of batiste.linen.summary.table."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.core import struct
from batiste.linen import summary

KEY = jax.random.key(0)
X = jnp.ones((16, 9))
PLAIN = {"force_terminal": False, "no_color": True, "width": 120}


class Foo(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Dense(4)(x)
        return nn.Dense(2)(h)


SPECIFIED = """
                                Foo Summary                                
┏━━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┓
┃ path    ┃ module ┃ inputs        ┃ outputs       ┃ params               ┃
┡━━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━┩
│         │ Foo    │ float32[16,9] │ float32[16,2] │                      │
├─────────┼────────┼───────────────┼───────────────┼──────────────────────┤
│ Dense_0 │ Dense  │ float32[16,9] │ float32[16,4] │ bias: float32[4]     │
│         │        │               │               │ kernel: float32[9,4] │
│         │        │               │               │                      │
│         │        │               │               │ 40 (160 B)           │
├─────────┼────────┼───────────────┼───────────────┼──────────────────────┤
│ Dense_1 │ Dense  │ float32[16,4] │ float32[16,2] │ bias: float32[2]     │
│         │        │               │               │ kernel: float32[4,2] │
│         │        │               │               │                      │
│         │        │               │               │ 10 (40 B)            │
├─────────┼────────┼───────────────┼───────────────┼──────────────────────┤
│         │        │               │         Total │ 50 (200 B)           │
└─────────┴────────┴───────────────┴───────────────┴──────────────────────┘
                                                                           
                       Total Parameters: 50 (200 B)                        

"""  # noqa: W291, W293


def cells(text: str) -> list[list[str]]:
    """The cells of the body's lines, without the frame."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def test_the_specified_table_to_the_letter():
    assert Foo().tabulate(KEY, X, console_kwargs=PLAIN) == SPECIFIED


def test_function_and_method_give_the_same_text():
    made = nn.tabulate(Foo(), KEY, console_kwargs=PLAIN)
    assert made(X) == Foo().tabulate(KEY, X, console_kwargs=PLAIN)


def test_text_has_terminal_styles_by_default():
    text = Foo().tabulate(KEY, X)
    assert "\x1b[2mfloat32\x1b[0m[16,9]" in text
    assert "\x1b[1m40 \x1b[0m\x1b[1;2m(160 B)\x1b[0m" in text


def test_shapes_do_in_place_of_arrays():
    shape = jax.ShapeDtypeStruct(X.shape, X.dtype)
    assert Foo().tabulate(KEY, shape, console_kwargs=PLAIN) == SPECIFIED


def test_depth_counts_hidden_variables_in_the_row_above():
    rows = cells(Foo().tabulate(KEY, X, depth=0, console_kwargs=PLAIN))
    assert rows[0] == ["", "Foo", "float32[16,9]", "float32[16,2]", "50 (200 B)"]
    assert rows[1][-1] == "50 (200 B)"


def test_repeated_calls_show_on_request_without_their_variables():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(9)
            return dense(dense(x))

    once = cells(Twice().tabulate(KEY, X, console_kwargs=PLAIN))
    both = cells(Twice().tabulate(KEY, X, show_repeated=True, console_kwargs=PLAIN))
    assert sum(row[1] == "Dense" for row in once) == 1
    repeated = [row for row in both if row[1] == "Dense"]
    assert [row[-1] for row in repeated] == ["bias: float32[9]", ""]
    assert both[-1][-1] == "90 (360 B)"


def test_methods_other_than_call_are_named():
    class Encoder(nn.Module):
        def setup(self):
            self.dense = nn.Dense(2)

        def encode(self, x):
            return self.dense(x)

    class Model(nn.Module):
        def setup(self):
            self.encoder = Encoder()

        def __call__(self, x):
            return self.encoder.encode(x)

    rows = cells(Model().tabulate(KEY, X, console_kwargs=PLAIN))
    assert rows[1][:2] == ["encoder", "Encoder (encode)"]


def test_arguments_and_results_of_all_kinds():
    @struct.dataclass
    class Pair:
        a: Any
        b: Any

    class Any_(nn.Module):
        def __call__(self, *args, **kwargs):
            return Pair({"y": [args[0], 3]}, None)

    rows = cells(
        Any_().tabulate(KEY, X, "text", flag=True, n=None, console_kwargs=PLAIN)
    )
    inputs = [row[2] for row in rows if row[2]]
    outputs = [row[3] for row in rows if row[3]]
    assert inputs == ["- float32[16,9]", "- text", "- flag: True", "n: None"]
    assert outputs == ["a:", "y:", "- float32[16,9]", "- 3", "b: None", "Total"]


def test_brackets_in_strings_are_text_not_markup():
    class Echo(nn.Module):
        def __call__(self, x, name):
            return x

    text = Echo().tabulate(KEY, X, "[bold]name[/bold]", console_kwargs=PLAIN)
    assert "[bold]name[/bold]" in text


def test_collections_have_columns_params_first():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.variable("a_state", "n", lambda: jnp.zeros((), jnp.int32))
            self.sow("intermediates", "x", x)
            return nn.Dense(2)(x)

    header = Model().tabulate(KEY, X, console_kwargs=PLAIN).splitlines()[3]
    assert "params               ┃ a_state" in header
    assert "intermediates" not in header
    everything = Model().tabulate(KEY, X, mutable=True, console_kwargs=PLAIN)
    assert "intermediates" in everything


def test_a_module_without_variables():
    class Identity(nn.Module):
        def __call__(self, x):
            return x

    text = Identity().tabulate(KEY, X, console_kwargs=PLAIN)
    assert "Total Parameters: \n" in text.replace("  ", "").replace(": \n", ": \n")


def test_flops_of_the_call_and_of_its_gradient():
    rows = cells(
        Foo().tabulate(
            KEY, X, compute_flops=True, compute_vjp_flops=True, console_kwargs=PLAIN
        )
    )
    # 2 * 16 * 9 * 4 for the product of the first layer and 16 * 4 for its bias.
    assert rows[1][4] == str(2 * 16 * 9 * 4 + 16 * 4)
    assert int(rows[0][4]) == int(rows[1][4]) + (2 * 16 * 4 * 2 + 16 * 2)
    assert all(int(row[5]) > 2 * int(row[4]) for row in rows if row[4])


def test_table_and_column_options_reach_rich():
    text = Foo().tabulate(
        KEY,
        X,
        table_kwargs={"caption_justify": "left"},
        column_kwargs={"justify": "right"},
        console_kwargs=PLAIN,
    )
    assert "\nTotal Parameters: 50 (200 B)" in text
    assert "│    Foo │" in text


def test_bytes_are_decimal_units():
    class Big(nn.Module):
        @nn.compact
        def __call__(self):
            self.param("k", nn.initializers.zeros, (1000, 1000))

    assert "1,000,000 (4.0 MB)" in Big().tabulate(KEY, console_kwargs=PLAIN)


def test_nothing_is_allocated():
    class Huge(nn.Module):
        @nn.compact
        def __call__(self):
            self.param("k", nn.initializers.normal(), (1 << 20, 1 << 20))

    assert "(4.4 TB)" in Huge().tabulate(KEY, console_kwargs=PLAIN)


def test_tracers_do_not_leak():
    with jax.checking_leaks():
        Foo().tabulate(KEY, X)


def test_a_failing_module_leaves_no_recorder():
    class Broken(nn.Module):
        def __call__(self, x):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        Broken().tabulate(KEY, X)
    assert Foo().tabulate(KEY, X, console_kwargs=PLAIN) == SPECIFIED


def test_module_paths_are_unbound_copies():
    paths = Foo().module_paths(KEY, X)
    assert list(paths) == ["", "Dense_0", "Dense_1"]
    assert paths["Dense_1"].features == 2
    assert paths["Dense_1"].scope is None


def test_a_table_is_a_list_of_rows_with_columns():
    row = summary.Row((), Foo(), "__call__", None, None, {}, {})
    table = summary.Table(row.module_copy, ["params"], [row])
    assert table == [row]
    assert table.module == Foo()
    assert table.collections == ["params"]

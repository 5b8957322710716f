"""Tests of batiste.core.notebook, and of what notebooks show of a FrozenDict."""

import collections
import dataclasses
import html.parser
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import FrozenDict, notebook, struct
from batiste.core.meta import AxisMetadata

EVIL = "<script>alert('x & y')</script>"


class Balanced(html.parser.HTMLParser):
    """Checks that what is opened is closed, and gathers the text."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def text_of(shown: str | None) -> str:
    """The text of some HTML, which is well formed and has no tags but ours."""
    assert shown is not None
    parser = Balanced()
    parser.feed(shown)
    parser.close()
    assert not parser.open
    assert parser.tags <= {"div", "details", "summary", "span", "b"}
    return "".join(parser.texts)


def show(value: Any) -> str:
    return text_of(notebook.tree("x", value))


Point = collections.namedtuple("Point", "a b")


class Box(struct.PyTreeNode, AxisMetadata):
    value: Any
    names: tuple = struct.field(pytree_node=False)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


@dataclasses.dataclass
class Layer:
    shape: tuple
    dtype: Any


class Rude:
    def __repr__(self):
        raise RuntimeError("no")


class RudeShape:
    @property
    def shape(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (jnp.ones((2, 3), "bfloat16"), "x: bfloat16[2,3] 6 (12 B)"),
        (np.ones((), "int8"), "x: int8[] 1 (1 B)"),
        (jax.ShapeDtypeStruct((2,), "float32"), "x: float32[2] 2 (8 B)"),
        (jax.random.key(0), "x: key<fry>[] 1 (8 B)"),
        (3, "x: 3"),
        ("text", "x: 'text'"),
        (None, "x: None"),
        (len, "x: len"),
        (int, "x: int"),
        ((3, 4), "x: (3, 4)"),
        ({}, "x: {}"),
        ({"a": {"b": 1}}, "xab: 1"),
        ([np.ones(2, "int8")], "x list 2 (2 B)0: int8[2] 2 (2 B)"),
        (Point(1, np.ones(2, "int8")), "x Point 2 (2 B)a: 1b: int8[2] 2 (2 B)"),
        (Layer((2,), np.float32), "x Layershape: (2,)dtype: float32"),
        (
            Box(np.ones((2, 3), "int8"), ("in", None)),
            "x: int8[2,3] 6 (6 B) P('in', None)",
        ),
        ({1: 2}, "x1: 2"),
        (Rude(), "x: <Rude>"),
        ({"a": Rude(), "b": 1}, "xa: <Rude>b: 1"),
        (RudeShape(), "x: <RudeShape>"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_values(value, text):
    assert show(value) == text


@pytest.mark.parametrize(
    "value", [EVIL, {EVIL: 1}, [np.ones(1), EVIL], Layer((), EVIL)]
)
def test_what_looks_like_html_is_text(value):
    assert EVIL in show(value)  # which has checked the tags


def test_a_repr_that_looks_like_html_is_text():
    class Evil:
        def __repr__(self):
            return EVIL

    assert show({"a": Evil()}) == f"xa: {EVIL}"


def test_what_is_long_is_cut():
    assert len(show("y" * 10_000)) < 400
    shown = show({str(i): np.ones(1, "int8") for i in range(2_000)})
    assert shown.endswith("... and 1,500 more")
    assert shown.startswith("x 2,000 (2.0 KB)")


def test_what_has_no_end_has_one():
    endless: dict = {}
    endless["again"] = endless
    assert "<dict>" in show(endless)


def test_half_a_character_can_be_sent():
    notebook.escaped("\ud800").encode()


def test_shardings_are_told():
    mesh = jax.make_mesh((1,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    for value in (
        jax.device_put(np.ones(2, "int8"), sharding),
        jax.ShapeDtypeStruct((2,), "int8", sharding=sharding),
    ):
        assert "('data',) of {'data': 1}" in show(value).replace(
            "PartitionSpec('data')", "PartitionSpec('data',)"
        )


def test_no_array_is_read():
    array = jnp.ones(3)
    array.delete()
    assert show(array) == "x: float32[3] 3 (12 B)"
    traced: list[str] = []

    def f(x):
        traced.append(show({"a": x}))
        return x

    jax.jit(f)(jnp.ones(3))
    assert traced == ["x 3 (12 B)a: float32[3] 3 (12 B)"]


def test_colours_are_those_of_the_page():
    shown = FrozenDict({"a": {"b": jnp.ones(2)}})._repr_html_()
    assert "color:inherit" in shown
    assert "currentColor" in shown
    for fixed in ("#", "rgb", "white", "black"):
        assert fixed not in shown


def test_a_frozen_dict_is_a_tree():
    frozen = FrozenDict({"params": {"kernel": jnp.ones((2, 3)), EVIL: 1}})
    shown = frozen._repr_html_()
    assert shown.count("<details") == 2
    assert text_of(shown) == (
        f"FrozenDict 6 (24 B)params 6 (24 B)kernel: float32[2,3] 6 (24 B){EVIL}: 1"
    )
    assert text_of(FrozenDict()._repr_html_()) == "FrozenDict: {}"


def test_what_fails_is_left_to_the_text():
    assert notebook.page(lambda: str(1 / 0)) is None

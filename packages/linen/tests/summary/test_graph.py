"""Tests of batiste.linen.summary.graph."""

import html
import importlib
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.linen import errors

KEY = jax.random.key(0)
X = jax.ShapeDtypeStruct((16, 9), "float32")


@pytest.fixture
def graphviz():
    return pytest.importorskip("graphviz", reason="needs the extra 'graph'")


@pytest.fixture
def drawn(graphviz):
    if shutil.which("dot") is None:
        pytest.skip("needs Graphviz")


class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        block = Block(5, name="block")
        return nn.Dense(2)(block(x)), train


def edges(source: str) -> list[tuple[str, str]]:
    return re.findall(r"\b(n\d+) -> (n\d+)", source)


def test_the_tree_with_shapes_on_the_edges(graphviz):
    picture = nn.graph(Net(), KEY, X, train=True)
    assert isinstance(picture, graphviz.Digraph)
    assert edges(picture.source) == [("n0", "n1"), ("n0", "n3"), ("n1", "n2")]
    for label in (
        "Net\\n62 (248 B)",
        "block\\nBlock\\n50 (200 B)",
        "Dense_0\\nDense\\n12 (48 B)",
        "float32[16,5]\\n\u2192 float32[16,2]",
        "[float32[16,9], {train: True}]",
        "[float32[16,2], True]",
    ):
        assert label in picture.source.replace("\\\\n", "\\n").replace("\n", "\\n"), (
            label
        )


def test_levels_and_later_calls(graphviz):
    assert edges(nn.graph(Net(), KEY, X, depth=1).source) == [
        ("n0", "n1"),
        ("n0", "n2"),
    ]

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(9)
            return dense(dense(x))

    assert len(edges(nn.graph(Twice(), KEY, X).source)) == 1
    assert len(edges(nn.graph(Twice(), KEY, X, show_repeated=True).source)) == 2


def test_nothing_is_computed(graphviz):
    class Watched(nn.Module):
        @nn.compact
        def __call__(self, x):
            assert isinstance(x, jax.core.Tracer)
            return nn.Dense(2)(x)

    huge = jax.ShapeDtypeStruct((1 << 40, 1 << 20), "float32")
    assert "Dense_0" in nn.graph(Watched(), KEY, huge).source
    assert "Dense_0" in nn.graph(Watched(), KEY, jnp.ones((2, 3))).source


def test_notebooks_show_svg(drawn):
    shown = nn.graph(Net(), KEY, X)._repr_mimebundle_()
    assert "<svg" in shown["image/svg+xml"]
    assert "float32[16,9]" in shown["image/svg+xml"]


@pytest.mark.parametrize(
    "name", ['a"b', "<b>", "a:b", "a\\\\nb", "<img src=x>", "{a|b}", "\u00e9"]
)
def test_names_are_text(drawn, name):
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x, text):
            return nn.Dense(2, name=name)(x)

    svg = nn.graph(Odd(), KEY, X, "<script>").pipe(format="svg", encoding="utf-8")
    assert "<script" not in svg
    assert "<img" not in svg
    assert f">{name}<" in html.unescape(svg).replace("\xa0", " ")


def test_without_the_package(monkeypatch):
    # The function of this name hides the module.
    home = importlib.import_module("batiste.linen.summary.graph")
    home._digraph_class.cache_clear()
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(
        errors.GraphvizMissingError, match="the extra graph of"
    ) as raised:
        nn.graph(Net(), KEY, X)
    assert isinstance(raised.value, ImportError)
    assert raised.value.missing == "package"


@pytest.mark.parametrize("how", ["pipe", "render", "_repr_mimebundle_"])
def test_without_the_program(graphviz, how, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    picture = nn.graph(Net(), KEY, X)
    assert "block" in picture.source
    with pytest.raises(errors.GraphvizMissingError, match="program dot") as raised:
        getattr(picture, how)()
    assert "extra graph of batiste-linen" in str(raised.value)
    assert raised.value.missing == "program"


def test_the_package_is_imported_when_it_is_used():
    code = "import sys, batiste.linen as nn; nn.graph; print('graphviz' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"

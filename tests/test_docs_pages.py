"""The API pages have every public name once, and nothing else; what pages show holds.

Pages with cells are run when the book is built. This is about the others, and needs
nothing that the book is built with.
"""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import batiste.linen as nn

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "api").rglob("*.md"))
FRONT = ROOT / "docs" / "index.md"
DIRECTIVE = re.compile(r"^```\{api\} (\S+)\n(.*?)^```$", re.M | re.S)
EXAMPLE = re.compile(r"^```pycon\n(.*?)^```$", re.M | re.S)
FLAGS = (
    doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
)

# What users import from. Below these, whatever module a facade's `__all__` has.
PACKAGES = [f"batiste.{p.name}" for p in (ROOT / "packages").iterdir()]
PACKAGES.remove("batiste.batiste")
FLAT = [p.stem for p in (ROOT / "packages/batiste/src/batiste").glob("*.py")]
# Reached by their own names only.
APART = [
    "batiste.core.cursor",
    "batiste.flax",
    "batiste.linen.errors",
    "batiste.serialization.errors",
    "batiste.spmd.errors",
    "batiste.training.errors",
    "batiste.traverse.errors",
]


def _facades() -> list[str]:
    found: list[str] = []
    waiting = [*PACKAGES, *APART, *(f"batiste.{name}" for name in FLAT)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            value = getattr(module, public)
            if inspect.ismodule(value) and value.__name__.startswith("batiste"):
                waiting.append(value.__name__)
    return sorted(found)


def _public(facade: str) -> dict[str, object]:
    module = importlib.import_module(facade)
    names = getattr(module, "__all__", None)
    if names is None:  # The flat names are all that is in the module that they are of.
        names = [n for n in vars(module) if not n.startswith("_") and n != "Any"]
    values = {name: getattr(module, name) for name in names}
    if facade.endswith(".errors") and facade != "batiste.core.errors":
        # What builds their messages is theirs.
        values = {n: v for n, v in values.items() if isinstance(v, type)}
    return {n: v for n, v in values.items() if not inspect.ismodule(v)}


def _documented() -> list[tuple[str, str, Path]]:
    found = []
    for page in PAGES:
        for match in DIRECTIVE.finditer(page.read_text("utf-8")):
            names = re.sub(r"^---\n.*?^---\n", "", match[2], flags=re.M | re.S).split()
            found += [(match[1], name, page) for name in names]
    return found


FACADES = _facades()


@pytest.mark.parametrize("facade", FACADES)
def test_every_public_name_has_an_entry(facade):
    entries: dict[str, list[object]] = {}
    for module, name, _ in _documented():
        value = getattr(importlib.import_module(module), name, None)
        entries.setdefault(name, []).append(value)
    missing = [
        name
        for name, value in _public(facade).items()
        if not any(value is entry for entry in entries.get(name, []))
    ]
    assert not missing


def test_every_entry_is_public():
    private = [
        f"{page.relative_to(ROOT)}: {module}.{name}"
        for module, name, page in _documented()
        if module not in FACADES or name not in _public(module)
    ]
    assert not private


def test_nothing_has_two_entries():
    seen: dict[tuple[str, int], Path] = {}
    twice = []
    for module, name, page in _documented():
        value = getattr(importlib.import_module(module), name)
        if (name, id(value)) in seen:
            twice.append(f"{module}.{name}: {page.name}, {seen[name, id(value)].name}")
        seen[name, id(value)] = page
    assert not twice


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_begins_with_sentences_and_an_example(page):
    text = page.read_text("utf-8")
    before, _, _ = text.partition("```")
    paragraph = before.split("\n\n", 1)[1]
    assert len(re.findall(r"\.(?=\s|$)", paragraph)) >= 3
    if page.stem in ("index", "command_lines") and "{api}" not in text:
        return
    assert text.startswith(f"{before}```pycon\n")


def _with_examples() -> list[Path]:
    pages = (ROOT / "docs").rglob("*.md")
    pages = (page for page in pages if "_build" not in page.parts)
    return sorted(page for page in pages if EXAMPLE.search(page.read_text("utf-8")))


@pytest.mark.parametrize("page", _with_examples(), ids=lambda p: p.stem)
def test_the_examples_of_a_page_hold(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "\n".join(EXAMPLE.findall(page.read_text("utf-8")))
    test = doctest.DocTestParser().get_doctest(text, {}, page.stem, str(page), 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    runner.run(test, out=report.append)
    assert not "".join(report)


TRAINS = re.compile(
    r"apply_(?:gradients|updates)\(|training\.fit\(|train_and_evaluate\("
)


def _training_pages() -> list[Path]:
    pages = (ROOT / "docs").rglob("*.md")
    pages = [page for page in pages if "_build" not in page.parts]
    texts = {page: page.read_text("utf-8") for page in pages}
    runs = [page for page, text in texts.items() if "file_format: mystnb" in text]
    return sorted(page for page in runs if TRAINS.search(texts[page]))


@pytest.mark.parametrize("page", _training_pages(), ids=lambda p: p.stem)
def test_a_page_that_trains_says_how_long_it_takes(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    assert re.search(r"\b(?:seconds?|minutes?)\b", prose)


def _front_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", FRONT.read_text("utf-8"), re.M | re.S)


def test_the_front_page_has_the_first_model_of_the_readme():
    first, *_ = _front_blocks()
    namespace: dict[str, object] = {}
    exec(first, namespace)
    assert namespace["logits"].shape == (32, 10)
    assert "".join(first.split("model = ")[0].split()) in "".join(
        (ROOT / "README.md").read_text("utf-8").split()
    )


def test_what_is_side_by_side_on_the_front_page_gives_the_same_numbers():
    _, modules, by_hand = _front_blocks()
    x = jax.random.normal(jax.random.key(1), (8, 64))
    given = {
        "jax": jax,
        "jnp": jnp,
        "nn": nn,
        "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
        "key": jax.random.key(0),
        "x": x,
        "y": jnp.arange(8),
    }
    by_modules, without = dict(given), dict(given)
    exec(modules, by_modules)
    exec(by_hand, without)
    params = by_modules["params"]
    assert jax.tree.map(jnp.shape, dict(params["params"])) == jax.tree.map(
        jnp.shape, without["params"]
    )
    of_both = jax.value_and_grad(by_modules["loss"])(params, x, given["y"])
    alone = jax.value_and_grad(without["loss"])(params["params"], x, given["y"])
    for ours, theirs in zip(jax.tree.leaves(of_both), jax.tree.leaves(alone)):
        np.testing.assert_array_equal(ours, theirs)

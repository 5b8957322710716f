"""No module of a package imports, by whatever route, a module that imports it.

Counted are all imports: those for the type checker only, and those inside functions,
where a circle hides most easily.
"""

from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("traverse", "serialization", "core", "spmd", "linen", "training")


def _circles(package: str) -> Iterator[set[str]]:
    """Yields each set of modules that reach each other."""
    graph = grimp.build_graph(package, cache_dir=None)
    left = set(graph.modules)
    while left:
        module = left.pop()
        below = graph.find_upstream_modules(module)
        circle = {m for m in below if module in graph.find_upstream_modules(m)}
        left -= circle
        if circle - {module}:
            yield {m.removeprefix(f"{package}.") for m in (*circle, module)}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_no_import_circles(package):
    assert not list(_circles(f"batiste.{package}"))


@pytest.mark.parametrize(
    "back",
    [
        "from . import top",
        "def use():\n    from .top import name",
        "import typing\nif typing.TYPE_CHECKING:\n    from .top import name",
    ],
)
def test_a_circle_is_found_wherever_the_import_stands(back, tmp_path, monkeypatch):
    package = tmp_path / "made_up_package"
    package.mkdir()
    files = {"__init__": "", "top": "from . import middle, alone", "alone": ""}
    files |= {"middle": "from .bottom import name", "bottom": back}
    for name, text in files.items():
        (package / f"{name}.py").write_text(f"{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(_circles("made_up_package")) == [{"top", "middle", "bottom"}]
    (package / "bottom.py").write_text("")
    assert not list(_circles("made_up_package"))

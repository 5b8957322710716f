"""Settings of all tests, and the runner of the examples that documentation shows.

`pytest packages/linen` runs, beside the tests, the examples in the package's README and
in the docstrings of its sources, one test for each docstring. They come from the
package as it is installed, wherever that is; its source files only say what there is.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import re
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on the machine's load, so it decides nothing.
settings.register_profile(
    "batiste", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("batiste")

PACKAGES = Path(__file__).parent / "packages"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Collects the examples of a package's README and of each of its source files."""
    others = yield
    with contextlib.suppress(ValueError):
        package, *rest = file_path.relative_to(PACKAGES).parts
        if rest == ["README.md"]:
            return [*others, ReadmeFile.from_parent(parent, path=file_path)]
        if rest[0] == "src" and _module_name(file_path) is not None:
            # Not pytest's own, which would import a file that the command line names
            # as a second copy.
            return [SourceFile.from_parent(parent, path=file_path)]
    return others


def pytest_collect_directory(
    path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Keeps pytest from importing the sources as a second copy of the package."""
    if path.is_relative_to(PACKAGES) and "src" in path.relative_to(PACKAGES).parts[1:2]:
        return pytest.Dir.from_parent(parent, path=path)
    return None


def _module_name(path: Path) -> str | None:
    """Returns the name that a source file is imported by, None if it is a script."""
    *folders, name = path.with_suffix("").relative_to(PACKAGES).parts[2:]
    in_package = (path.parent / "__init__.py").exists() or folders == ["batiste"]
    if path.suffix != ".py" or not in_package:
        return None
    return ".".join(folders if name == "__init__" else [*folders, name])


class ExampleError(Exception):
    """What an example did instead of what it shows."""


class Example(pytest.Item):
    """Examples that run one after the other, in an empty folder of their own."""

    def run_examples(self) -> None:
        """Raises an error if one of the examples does not do what it shows."""
        raise NotImplementedError

    def runtest(self) -> None:
        """Runs the examples."""
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            self.run_examples()

    def repr_failure(self, excinfo, style=None):
        """Shows doctest's report instead of this file's lines."""
        if isinstance(excinfo.value, ExampleError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self):
        """Names the file and what in it has the examples."""
        return self.path, None, self.name


class SourceFile(pytest.File):
    """A source file: each of its docstrings that has examples is a test."""

    def collect(self) -> Iterator[pytest.Item]:
        """Finds the docstrings of the installed module."""
        name = _module_name(self.path)
        assert name is not None
        module = importlib.import_module(name)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            if test.examples:
                yield Docstring.from_parent(
                    self, name=test.name.removeprefix(f"{name}."), test=test
                )


class Docstring(Example):
    """The examples of one docstring."""

    def __init__(self, *, test: doctest.DocTest, **kwargs):
        super().__init__(**kwargs)
        self.test = test

    def run_examples(self) -> None:
        """Compares what each example prints with what the docstring shows."""
        report: list[str] = []
        runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
        if runner.run(self.test, out=report.append).failed:
            raise ExampleError("".join(report))


class ReadmeFile(pytest.File):
    """A package's README."""

    def collect(self) -> Iterator[pytest.Item]:
        """Makes one test of all examples, because the later ones use the earlier."""
        yield Readme.from_parent(self, name="examples")


class Readme(Example):
    """The Python blocks of a README."""

    def run_examples(self) -> None:
        """Runs the blocks in one namespace."""
        text = self.path.read_text("utf-8")
        blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S))
        if not blocks:
            raise ExampleError(f"{self.path} shows no example")
        namespace = {"__name__": "readme"}
        for block in blocks:
            # The empty lines make the traceback's line numbers those of the file.
            before = "\n" * text.count("\n", 0, block.start(1))
            source = before + block[1]
            code = compile(source, str(self.path), "exec", dont_inherit=True)
            exec(code, namespace)

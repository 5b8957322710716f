"""A warning is an error in every suite, whichever module of ours would cause it."""

import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTEST = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
FILTERS = PYTEST["ini_options"]["filterwarnings"]

# What newer JAX, Optax and Orbax say about code that calls them so.
DEPRECATIONS = [
    ("`with mesh:` context manager has been deprecated. Use", DeprecationWarning),
    ("Sharding info not provided when restoring. Populating", UserWarning),
    ("The transformations API will eventually be replaced", UserWarning),
    ("optax.global_norm is deprecated", DeprecationWarning),
    ("jax.pmap is deprecated", FutureWarning),
    ("unclosed event loop", ResourceWarning),
]


def _modules() -> Iterator[str]:
    """Yields the names of all of our modules."""
    for folder in sorted(ROOT.glob("packages/*/src")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture
def configured():
    """The filters of pyproject.toml, in force as pytest sets them."""
    from _pytest.config import parse_warning_filter

    with warnings.catch_warnings():
        warnings.resetwarnings()
        for text in FILTERS:
            warnings.filterwarnings(*parse_warning_filter(text, escape=False))
        yield


@pytest.mark.parametrize(("text", "category"), DEPRECATIONS)
@pytest.mark.usefixtures("configured")
def test_what_others_deprecate_is_an_error_in_any_module_of_ours(text, category):
    modules = list(_modules())
    assert len(modules) > 100
    for module in modules:
        with pytest.raises(category, match=re.escape(text)):
            warnings.warn_explicit(text, category, "file.py", 1, module=module)


@pytest.mark.usefixtures("configured")
def test_only_a_test_may_show_what_jax_deprecates():
    text, category = DEPRECATIONS[0]
    warnings.warn_explicit(text, category, "file.py", 1, module="tests.test_meshes")
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit(text, category, "file.py", 1, module="examples.main")


@pytest.mark.usefixtures("configured")
def test_an_object_of_ours_that_fails_unseen_is_an_error():
    category = pytest.PytestUnraisableExceptionWarning
    warnings.warn("Exception ignored in: None", category, stacklevel=1)
    with pytest.raises(category):
        text = "Exception ignored in: <function Scope.__del__ at 0x7f>"
        warnings.warn(text, category, stacklevel=1)


def test_every_session_takes_warnings_for_errors_but_where_versions_vary():
    # `nox -s tests` runs whole with what is in pyproject.toml, and adds no option.
    assert FILTERS[0] == "error"
    text = (ROOT / "noxfile.py").read_text("utf-8")
    body = text.partition("def tests(")[2].partition("@nox.session")[0]
    assert "-W" not in body
    assert "warnings=" not in body

"""Run a test suite that was written for flax, with Batiste in the place of flax.

`pytest -p batiste.flax.pytest`; the option `--flax-generation`, or
`flax_generation` in the configuration file, chooses the defaults.
"""

from __future__ import annotations

import pytest

from .generations import DEFAULT
from .installing import install, installed_generation, uninstall

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_unconfigure",
]

_installed_here = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares the option and the setting."""
    text = "whose defaults Batiste sets when it takes the place of flax: 0.6 or 0.12"
    group = parser.getgroup("batiste.flax", "Batiste in the place of flax")
    group.addoption("--flax-generation", metavar="G", help=f"{text} ({DEFAULT})")
    parser.addini("flax_generation", text, default=DEFAULT)


# Before any conftest.py, which may import flax, is loaded.
@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Installs before the first conftest.py."""
    _install(early_config)


# For `pytest_plugins = ["batiste.flax.pytest"]` in a conftest.py.
@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Installs, if that was not done yet."""
    _install(config)


def _install(config: pytest.Config) -> None:
    if _installed_here in config.stash:
        return
    chosen = getattr(config.known_args_namespace, "flax_generation", None)
    before = installed_generation()
    try:
        install(chosen or config.getini("flax_generation"))
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_installed_here] = before is None


def pytest_report_header() -> str:
    """Says in the report's first lines what flax is."""
    return f"flax: batiste, with the defaults of generation {installed_generation()}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Undoes what was installed."""
    if config.stash.get(_installed_here, False):
        uninstall()

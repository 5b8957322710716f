"""The Module system against the released flax: the same program, the same result."""

import pytest

from . import (
    cases_module_classes,
    cases_module_running,
    cases_module_scopes,
    cases_module_setup,
    cases_module_submodules,
    cases_module_variables,
)
from .module_programs import CASES, DIFFERENT, ours, outcome, plain, theirs

# To import them is to register their cases.
__all__ = [
    "cases_module_classes",
    "cases_module_running",
    "cases_module_scopes",
    "cases_module_setup",
    "cases_module_submodules",
    "cases_module_variables",
]


@pytest.mark.parametrize("fn", CASES, ids=lambda fn: fn.__name__)
def test_same_result(fn):
    assert outcome(fn, ours) == outcome(fn, theirs)


@pytest.mark.parametrize(
    ("fn", "gives"), DIFFERENT, ids=lambda value: getattr(value, "__name__", "")
)
def test_known_difference(fn, gives):
    kind, value = gives
    assert outcome(fn, ours) == (kind, plain(value))
    assert outcome(fn, theirs) != (kind, plain(value))

import pickle
import subprocess
import sys

import pytest

import batiste.traverse as traverse
from batiste.traverse import TraverseError

ERRORS = [
    getattr(traverse, name) for name in traverse.__all__ if name.endswith("Error")
]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_a_traverse_error_and_can_be_pickled(kind):
    error = pickle.loads(pickle.dumps(kind("what 'happened'")))
    assert type(error) is kind
    assert isinstance(error, TraverseError)
    assert str(error) == "what 'happened'"


@pytest.mark.parametrize(
    ("name", "builtins"),
    [
        ("NotAMappingError", (TypeError, AssertionError)),
        ("NotTraversableError", (TypeError, ValueError)),
        ("PathKeyError", (TypeError, ValueError)),
        ("PathConflictError", (ValueError,)),
        ("TraverseItemError", (KeyError, IndexError)),
        ("TraverseAttributeError", (AttributeError,)),
        ("TraverseValuesError", (ValueError, TypeError)),
    ],
)
def test_every_error_is_the_builtin_error_one_expects(name, builtins):
    for builtin in builtins:
        assert issubclass(getattr(traverse, name), builtin)


def test_importing_needs_nothing_slow():
    code = (
        "import sys; before = set(sys.modules); import batiste.traverse;"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    slow = {"jax", "numpy", "typing", "dataclasses", "inspect", "re"}
    assert slow.isdisjoint(done.stdout.split())

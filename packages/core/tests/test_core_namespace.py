"""The names of `cambric.core`, some of which are imported when first used."""

import subprocess
import sys

import pytest

import cambric.core


def test_later_modules_are_there():
    from cambric.core import axes_scan, broadcast, lift, nn, partial_eval

    assert broadcast is axes_scan.broadcast
    assert callable(lift.vmap) and callable(nn.dense)
    assert callable(partial_eval.lazy_init)
    assert {"lift", "nn", "broadcast", "Scope"} <= set(dir(cambric.core))


def test_a_missing_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'lifts'"):
        cambric.core.lifts  # noqa: B018


def test_importing_leaves_the_rest_for_later():
    code = (
        "import sys, cambric.core; print([m for m in ('cambric.core.lift', "
        "'cambric.core.nn', 'jax.extend.core') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

"""The names of `batiste.core`, some of which are imported when first used."""

import subprocess
import sys

import pytest

import batiste.core


def test_later_modules_are_there():
    from batiste.core import axes_scan, broadcast, lift, nn, partial_eval

    assert broadcast is axes_scan.broadcast
    assert callable(lift.vmap)
    assert callable(nn.dense)
    assert callable(partial_eval.lazy_init)
    assert {"lift", "nn", "broadcast", "Scope"} <= set(dir(batiste.core))


def test_a_missing_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'lifts'"):
        batiste.core.lifts  # noqa: B018


def test_importing_leaves_the_rest_for_later():
    code = (
        "import sys, batiste.core; print([m for m in ('batiste.core.lift', "
        "'batiste.core.nn', 'jax.extend.core') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

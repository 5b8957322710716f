"""What is imported under flax: names that are missing, submodules, pickles."""

import base64
import copy
import importlib
import pickle
import sys
from unittest import mock

import pytest

import batiste.flax
from batiste.core import FrozenDict
from batiste.flax import released

MISSING = "does not have it"


@pytest.mark.parametrize(
    ("statement", "error", "match"),
    [
        ("import flax.nnx", ModuleNotFoundError, "NNX is not part of this system"),
        ("from flax import nnx", ImportError, "NNX is not part of this system"),
        ("import flax.nnx.nn.linear", ImportError, "NNX is not part of this system"),
        ("from flax.nnx import Linear", ImportError, "NNX is not part of this system"),
        (
            "from flax.linen import Densee",
            ImportError,
            r"flax\.linen\.Densee.*installed as flax.*'Dense', 'DenseGeneral'",
        ),
        ("from flax.struct import dataclas", ImportError, "nearest.* 'dataclass'"),
        ("from flax.core.meta import Partition", ImportError, "'Partitioned'"),
        ("import flax.lienn", ModuleNotFoundError, "'flax.lienn'.*'linen'"),
        ("from flax import optim", ImportError, "neither a module nor an attribute"),
        ("import flax.training.chekpoints as c", ImportError, "'checkpoints'"),
        ("import flax; flax.nnx", AttributeError, "NNX is not part of this system"),
        ("import flax; flax.lienn", AttributeError, f"{MISSING}.* 'linen'"),
        (
            "import flax.linen as nn; nn.Densee",
            AttributeError,
            rf"module 'flax.linen' has no attribute 'Densee'.*{MISSING}.*'Dense'",
        ),
        (
            "import flax.linen as nn; nn.__wrapped__",
            AttributeError,
            "no attribute '__w",
        ),
    ],
)
def test_what_is_missing_is_named(flax, statement, error, match, monkeypatch):
    monkeypatch.setattr(released, "_folders", list)
    with pytest.raises(error, match=match):
        exec(statement, {})


def test_submodules_need_no_import_of_their_own(flax):
    assert flax.training.checkpoints is sys.modules["flax.training.checkpoints"]
    assert flax.linen.linear.__name__ == "flax.linen.linear"
    assert flax.core.nn.linear.dense is not flax.linen.linear.Dense
    assert importlib.reload(flax.linen) is flax.linen


# `pickle.dumps` of values in a program that ran on flax 0.12.8.
RELEASED = {
    "frozen_dict": (
        "gASVPAAAAAAAAACMFWZsYXguY29yZS5mcm96ZW5fZGljdJSMCkZyb3plbkRpY3SUk5R9lIwB"
        "YZR9lIwBYpRLAXNzhZRSlC4="
    ),
    "early_stopping": (
        "gASVngAAAAAAAACMHGZsYXgudHJhaW5pbmcuZWFybHlfc3RvcHBpbmeUjA1FYXJseVN0b3Bw"
        "aW5nlJOUKYGUfZQojAltaW5fZGVsdGGUSwCMCHBhdGllbmNllEsDjAtiZXN0X21ldHJpY5RH"
        "f/AAAAAAAACMDnBhdGllbmNlX2NvdW50lEsAjAtzaG91bGRfc3RvcJSJjAxoYXNfaW1wcm92"
        "ZWSUiXViLg=="
    ),
    "deny_list": (
        "gASVMgAAAAAAAACMD2ZsYXguY29yZS5zY29wZZSMCERlbnlMaXN0lJOUKYGUfZSMBGRlbnmU"
        "jAF4lHNiLg=="
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_pickles_of_the_released_flax(flax, name):
    from flax.linen import DenyList
    from flax.training.early_stopping import EarlyStopping

    expected = {
        "frozen_dict": FrozenDict({"a": {"b": 1}}),
        "early_stopping": EarlyStopping(patience=3),
        "deny_list": DenyList("x"),
    }
    loaded = pickle.loads(base64.b64decode(RELEASED[name]))
    assert loaded == expected[name]
    assert type(loaded) is type(expected[name])


def test_pickles_made_under_flax_load_without_it(flax):
    model = flax.linen.Sequential([flax.linen.Dropout(0.5)])
    data = pickle.dumps((flax.linen.Sequential, model, flax.core.freeze({"a": 1})))
    batiste.flax.uninstall()
    assert b"flax" not in data
    cls, again, frozen = pickle.loads(data)
    from batiste import linen

    assert cls is linen.Sequential
    assert again.layers == [linen.Dropout(0.5)]
    assert frozen == FrozenDict({"a": 1})
    assert copy.deepcopy(again) == again


def test_live_names_are_read_and_set_through(flax):
    from batiste.serialization import encode

    first = encode.MAX_CHUNK_SIZE
    assert first == flax.serialization.MAX_CHUNK_SIZE
    flax.serialization.MAX_CHUNK_SIZE = 16
    assert encode.MAX_CHUNK_SIZE == flax.serialization.MAX_CHUNK_SIZE == 16
    flax.serialization.MAX_CHUNK_SIZE = 32
    del flax.serialization.MAX_CHUNK_SIZE
    assert first == encode.MAX_CHUNK_SIZE
    with mock.patch.object(flax.serialization, "MAX_CHUNK_SIZE", 8):
        assert encode.MAX_CHUNK_SIZE == 8
    assert first == encode.MAX_CHUNK_SIZE
    flax.serialization.MAX_CHUNK_SIZE = 16
    batiste.flax.uninstall()
    assert first == encode.MAX_CHUNK_SIZE


def test_other_names_are_set_in_the_alias_alone(flax):
    flax.linen.Dense = 3
    assert flax.linen.Dense == 3
    del flax.linen.Dense
    from batiste.linen import Dense

    assert flax.linen.Dense is Dense

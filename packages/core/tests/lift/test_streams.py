"""Groups of PRNG streams: splitting, starting anew, and fallbacks of their own."""

import jax
import jax.numpy as jnp
import pytest

from batiste.core import init, lift
from batiste.core.config import config
from batiste.core.errors import InvalidRngError
from batiste.core.lift.streams import (
    add_fallbacks,
    fallback_places,
    without_suffix,
)
from batiste.core.scope import LazyRng
from batiste.core.scope.filters import DenyList, NameSet

KEY = jax.random.key(0)


def test_tree_map_rngs_keeps_suffixes():
    streams = {"a": LazyRng(jax.random.PRNGKey(1), ("x",)), "b": LazyRng(KEY)}
    split = lift.tree_map_rngs(lambda key: jax.random.split(key, 3), streams)
    assert split["a"].rng.shape == (3, 2)
    assert split["a"].suffix == ("x",)
    assert split["b"].rng.shape == (3,)
    assert split["b"].suffix == ()


def test_streams_begin_anew_from_their_base_keys():
    ((streams,),) = without_suffix((({"a": LazyRng(KEY, ("x", 1))},),))
    assert streams["a"].suffix == ()
    assert streams["a"].rng is KEY


@pytest.mark.parametrize(
    ("filters", "places"),
    [
        ([True], ()),
        (["params", "dropout"], (("dropout", 1),)),
        ([["params", "dropout"]], ()),
        (["dropout"], (("dropout", 0),)),
        ([DenyList("params")], (("", 0),)),
        (["params", True], (("", 1),)),
    ],
)
def test_what_is_grouped_apart_from_params(filters, places):
    assert fallback_places([NameSet.of(f) for f in filters]) == places


def test_a_fallback_goes_to_the_group_of_its_stream_alone():
    within = LazyRng(jax.random.key(1))
    rngs = {"params": LazyRng(KEY), "params for dropout": within, "noise": LazyRng(KEY)}
    groups = ({"params": rngs["params"], "params for dropout": within}, {}, {})
    add_fallbacks(groups, rngs, [("dropout", 1), ("noise", 2)])
    assert groups == ({"params": rngs["params"]}, {"params for dropout": within}, {})


def keys_of(transform, streams, split):
    def draw(scope, _):
        return [jax.random.key_data(scope.make_rng(s)) for s in streams]

    def body(scope, carry, x):
        return carry, draw(scope, x)

    def model(scope):
        x = jnp.zeros(3)
        if transform == "scan":
            return lift.scan(body, {}, split_rngs=split)(scope, 0, x)[1]
        if transform == "while_loop":

            def step(scope, carry):
                index, keys = carry
                new = [old.at[index].set(k) for old, k in zip(keys, draw(scope, 0))]
                return index + 1, new

            start = 0, [jnp.zeros((3, 2), "uint32") for _ in streams]
            going = lambda _, carry: carry[0] < 3  # noqa: E731
            return lift.while_loop(going, step, scope, start, split_rngs=split)[1]
        axes = {"variable_axes": {}, "split_rngs": split}
        if transform == "jit":
            return lift.jit(lift.vmap(draw, **axes))(scope, x)
        if transform == "pmap":
            return lift.pmap(draw, **axes)(scope, x[:1])
        return lift.vmap(draw, **axes)(scope, x)

    return model


SPLITTING = ["vmap", "scan", "while_loop", "jit"]


@pytest.mark.parametrize("transform", SPLITTING)
@pytest.mark.parametrize(
    "split",
    [
        {"params": False, "dropout": True},
        {"dropout": True},
        {"params": False, True: True},
        {DenyList("params"): True},
        {("noise", "dropout"): True, "params": False},
    ],
)
def test_what_a_missing_stream_falls_back_to_is_split(transform, split):
    (keys,), _ = init(keys_of(transform, ["dropout"], split))(KEY)
    assert len({tuple(row.tolist()) for row in keys}) == 3


@pytest.mark.parametrize("transform", SPLITTING)
def test_it_stays_whole_where_the_stream_is_not_split(transform):
    split = {"params": True, "dropout": False}
    (whole, parts), _ = init(keys_of(transform, ["dropout", "params"], split))(KEY)
    assert len({tuple(row.tolist()) for row in whole}) == 1
    assert len({tuple(row.tolist()) for row in parts}) == 3


def test_a_fallback_counts_with_the_stream_that_it_stems_from():
    for split in (
        {"params": True, "dropout": True},
        {"params": False, "dropout": True},
    ):
        streams = ["params", "dropout", "params", "dropout"]
        for transform in SPLITTING:
            keys, _ = init(keys_of(transform, streams, split))(KEY)
            rows = [tuple(key[0].tolist()) for key in keys]
            assert len(set(rows)) == 4


def test_flags_of_fallbacks():
    model = keys_of("vmap", ["dropout"], {"params": False, "dropout": True})
    with config.temp_flip_flag("split_fallback", False):
        (keys,), _ = init(model)(KEY)
    assert len({tuple(row.tolist()) for row in keys}) == 1
    given = r"stream \"dropout\".*\['params'\]"
    with (
        config.temp_flip_flag("rng_fallback", False),
        pytest.raises(InvalidRngError, match=given),
    ):
        init(model)(KEY)


def test_the_fallback_is_no_stream_that_programs_see():
    def look(scope, _):
        scope.make_rng("dropout")
        assert not scope.has_rng("dropout")
        assert set(scope.rng_counters) <= {"params"}
        with (
            config.temp_flip_flag("rng_fallback", False),
            pytest.raises(InvalidRngError, match=r"\"noise\".*\['params'\]"),
        ):
            scope.make_rng("noise")
        return 0

    mapped = lift.vmap(look, {}, {"dropout": True})
    init(mapped)(KEY, jnp.zeros(3))

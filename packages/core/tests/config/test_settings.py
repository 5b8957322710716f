"""Flags: names, types, and values local to a thread or task."""

import asyncio
import contextlib
import contextvars
import copy
import pickle
import sys
import threading

import pytest

from batiste.core.config import (
    Config,
    FlagValueError,
    UnknownFlagError,
    bool_flag,
    config,
    int_flag,
)
from batiste.core.errors import FlaxError


@contextlib.contextmanager
def restored(*names):
    before = {name: getattr(config, name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            config.update(name, value)


def test_prefixes_are_ignored():
    with restored("return_frozendict"):
        config.update("flax_return_frozendict", False)
        assert config.return_frozendict is False
        assert config.flax_return_frozendict is False
        assert config.batiste_return_frozendict is False
        config.batiste_return_frozendict = True
        assert config.return_frozendict is True
    assert "return_frozendict" in dir(config)
    assert "    filter_frames=True,\n" in repr(config)


@pytest.fixture
def another_package(tmp_path, monkeypatch):
    """A package of the namespace that is installed and not imported; its name."""
    name = f"other_{tmp_path.name}"
    folder = tmp_path / "batiste" / name
    folder.mkdir(parents=True)
    (folder / "flags.py").write_text(
        "from batiste.core.config import bool_flag\n"
        f"bool_flag('{name}_flag', default=False, help='')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_flag_of_a_package_that_is_not_imported_is_found(another_package):
    flag = f"{another_package}_flag"
    assert flag not in dir(config)
    config.update(f"flax_{flag}", True)
    assert getattr(config, flag) is True
    assert f"batiste.{another_package}.flags" in sys.modules


def test_names_that_tools_ask_for_import_no_package(another_package):
    for name in ("_repr_html_", "__wrapped__"):
        assert not hasattr(config, name)
    assert f"batiste.{another_package}.flags" not in sys.modules


def test_unknown_flags():
    message = r'No flag "return_frozendcit" is.*did you mean "return_frozendict"\?'
    for use in (
        lambda: config.return_frozendcit,
        lambda: config.update("return_frozendcit", True),
        lambda: setattr(config, "return_frozendcit", True),
        lambda: config.temp_flip_flag("return_frozendcit", True).__enter__(),
    ):
        with pytest.raises(UnknownFlagError, match=message) as caught:
            use()
        assert isinstance(caught.value, FlaxError | AttributeError)
        assert isinstance(caught.value, LookupError)
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value)
        assert again.flag == "return_frozendcit"
    assert not hasattr(config, "nope")
    assert getattr(config, "nope", 3) == 3


@pytest.mark.parametrize("value", [1, 0, None, "false", 1.0])
def test_values_of_the_wrong_type(value):
    message = r'Flag "return_frozendict" takes True or False, not'
    for use in (
        lambda: config.update("flax_return_frozendict", value),
        lambda: config.temp_flip_flag("return_frozendict", value).__enter__(),
    ):
        with pytest.raises(FlagValueError, match=message) as caught:
            use()
        assert isinstance(caught.value, TypeError)
        assert caught.value.args
    assert config.return_frozendict is True


def test_flips_nest_and_end_on_errors():
    with config.temp_flip_flag("filter_frames", False):
        with config.temp_flip_flag("flax_filter_frames", True):
            assert config.filter_frames is True
        assert config.filter_frames is False
        with (
            pytest.raises(KeyError),
            config.temp_flip_flag("fix_rng_separator", True),
        ):
            raise KeyError
        assert config.fix_rng_separator is False
    assert config.filter_frames is True


def test_an_update_within_a_flip_ends_with_it():
    with config.temp_flip_flag("filter_frames", True):
        config.update("filter_frames", False)
        assert config.filter_frames is False
    assert config.filter_frames is True


def test_flips_are_local_to_a_thread():
    started, updated, ended = (threading.Barrier(17) for _ in range(3))
    seen: list[list[bool]] = [[] for _ in range(16)]

    def run(i):
        with config.temp_flip_flag("fix_rng_separator", i % 2 == 0):
            started.wait()
            seen[i].append(config.fix_rng_separator)
            updated.wait()
            seen[i].append(config.fix_rng_separator)
        ended.wait()
        seen[i].append(config.fix_rng_separator)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(16)]
    with restored("fix_rng_separator"):
        for thread in threads:
            thread.start()
        started.wait()
        assert config.fix_rng_separator is False
        config.update("fix_rng_separator", True)
        assert config.fix_rng_separator is True
        updated.wait()
        ended.wait()
        for thread in threads:
            thread.join()
        assert seen == [[i % 2 == 0, i % 2 == 0, True] for i in range(16)]
    assert config.fix_rng_separator is False


def test_flips_are_local_to_a_task():
    async def child(event):
        inside = config.filter_frames
        await event.wait()
        with config.temp_flip_flag("fix_rng_separator", True):
            # Another flag of another task is flipped: this one must be global again.
            return inside, config.filter_frames

    async def main():
        event = asyncio.Event()
        with config.temp_flip_flag("filter_frames", False):
            task = asyncio.create_task(child(event))
            await asyncio.sleep(0)
        context = contextvars.Context()
        flip = config.temp_flip_flag("filter_frames", False)
        context.run(flip.__enter__)
        event.set()
        result = await task
        context.run(flip.__exit__, None, None, None)
        return result

    assert asyncio.run(main()) == (False, True)
    assert config.filter_frames is True


def test_a_config_of_its_own():
    other = Config()
    with pytest.raises(UnknownFlagError):
        _ = other.filter_frames
    with pytest.raises(AttributeError):
        copy.copy(config).__no_such_attribute__  # noqa: B018


def test_sources_tell_where_a_value_comes_from(monkeypatch):
    monkeypatch.setenv("BATISTE_SOURCE_OF_ENV", "1")
    monkeypatch.setenv("FLAX_SOURCE_OF_INT", "7")
    names = ["source_of_default", "source_of_env", "source_of_int"]
    try:
        bool_flag(names[0], default=False, help="")
        bool_flag(names[1], default=False, help="")
        int_flag(names[2], default=None, help="")
        assert [config.sources()[name] for name in names] == [
            "default",
            "BATISTE_SOURCE_OF_ENV",
            "FLAX_SOURCE_OF_INT",
        ]
        with config.temp_flip_flag(names[0], True):
            assert config.sources()[names[0]] == "set"
        assert config.sources()[names[0]] == "default"
        config.update(names[1], False)
        assert config.sources()[names[1]] == "set"
        config.update(names[1], True)
        assert config.sources()[names[1]] == "BATISTE_SOURCE_OF_ENV"
    finally:
        for name in names:
            for table in (config._globals, config._types, config._flips, config._first):
                table.pop(name, None)
            config.__dict__.pop(name, None)


def test_watchers():
    own = Config()
    own.define("depth", int, 3)
    seen = []
    own.watch("flax_depth", seen.append)
    own.update("depth", 4)
    own.depth = 5
    with own.temp_flip_flag("depth", 6), own.temp_flip_flag("depth", 7):
        own.update("depth", 8)
    with pytest.raises(FlagValueError):
        own.update("depth", "9")
    assert seen == [3, 4, 5, 6, 7, 8, 6, 5]
    with pytest.raises(UnknownFlagError, match="width"):
        own.watch("width", seen.append)


def in_a_thread(fn):
    found = []
    thread = threading.Thread(target=lambda: found.append(fn()))
    thread.start()
    thread.join()
    return found[0]


def test_states():
    own = Config()
    own.define("depth", int, 3)
    own.define("deep", bool, True)
    first = own.state
    with own.temp_flip_flag("depth", 3):
        assert own.state == first
    own.depth = 4
    second = own.state
    with own.temp_flip_flag("deep", False):
        third = own.state
        # Another thread is not in the block.
        assert in_a_thread(lambda: own.state) == second
        own.deep = True
        assert own.state == second
    assert len({first, second, third}) == 3
    assert own.state == second
    own.define("late", bool, False)
    assert own.state == second
    own.depth, own.late = 3, True
    assert own.state not in {first, second, third}
    own.late = False
    assert own.state == first

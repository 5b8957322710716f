import errno
import gc
import io
import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from batiste.serialization import (
    SerializationError,
    from_bytes,
    restore,
    safetensors_metadata,
    serialize,
    stream,
    to_bytes,
)

TREE = {
    "params": {
        "Dense_0": {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.zeros(3)},
        "Dense_1": [np.ones((2, 2), "f4"), (1, None)],
    },
    "step": 7,
    "large": np.arange(10**6, dtype="i4"),
}


def assert_same(found, expected):
    assert to_bytes(found) == to_bytes(expected)


def test_file_holds_the_bytes_of_to_bytes(tmp_path):
    path = tmp_path / "state.msgpack"
    assert serialize(TREE, path) == len(to_bytes(TREE))
    assert path.read_bytes() == to_bytes(TREE)
    assert serialize(TREE, str(path), max_chunk_size=1000, durable=True) > 0
    assert path.read_bytes() == to_bytes(TREE, max_chunk_size=1000)
    assert os.listdir(tmp_path) == ["state.msgpack"]


def test_held_parts_stay_what_they_are():
    target = {
        "large": np.arange(99999.0),
        "small": np.arange(3),
        "turned": np.arange(99999.0).reshape(3, -1).T,
        "bytes": bytearray(b"abc"),
        "view": memoryview(bytearray(b"abc"))[::2],
        "rest": [1, "a", None, np.float32(3)],
    }
    expected = to_bytes(target)
    parts = stream.held_parts(target)
    target["bytes"][0] = 0
    target["view"].obj[0] = 0
    for name in ("large", "small", "turned"):
        target[name][:] = 0
    assert to_bytes(target) != expected
    assert b"".join(parts) == expected
    file = io.BytesIO()
    assert stream.write_parts(parts, file) == len(expected)
    assert file.getvalue() == expected
    array = np.arange(99999.0)
    assert b"".join(stream.held_parts(array)) == to_bytes(array)


def test_held_parts_of_what_cannot_be_written():
    with pytest.raises(SerializationError, match="cannot be serialized") as info:
        stream.held_parts({"a": [np.ones(3), object()]})
    assert info.value.path == "a/1"
    with pytest.raises(SerializationError, match="masked array"):
        stream.held_parts({"a": np.ma.masked_array([1, 2], [True, False])})


def test_restores_with_and_without_a_target(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    found = restore(path, TREE)
    assert_same(found, TREE)
    assert type(found["params"]["Dense_1"][1]) is tuple
    assert restore(str(path))["params"]["Dense_1"]["1"] == {"0": 1, "1": None}


def test_views_of_the_file_and_copies(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    view = restore(path)["large"]
    assert not view.flags.writeable
    assert not view.flags.owndata
    copy = restore(path, copy=True)["large"]
    assert copy.flags.writeable
    assert copy.flags.owndata
    assert copy.flags.aligned
    copy[0] = -1
    assert view[0] == 0


def test_views_outlive_the_file_and_its_replacement(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize({"a": np.arange(10**6)}, path)
    view = restore(path)["a"]
    serialize({"a": np.zeros(3)}, path)
    assert view.sum() == 499_999_500_000
    path.unlink()
    assert view.sum() == 499_999_500_000
    assert_same(view[:4], np.arange(4))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_nothing_stays_open(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    kept = restore(path, copy=True)
    with pytest.raises(SerializationError):
        restore(path, path="no/such")
    restore(path)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert kept["step"] == 7


def test_parts_by_path(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    part = restore(path, path="params/Dense_0")
    assert_same(part, TREE["params"]["Dense_0"])
    target = TREE["params"]["Dense_1"]
    for names in ("params/Dense_1", "/params/Dense_1/", ("params", "Dense_1")):
        assert_same(restore(path, target, path=names), target)
    assert restore(path, path=["step"]) == 7
    with pytest.raises(SerializationError) as info:
        restore(path, {"kernal": 0}, path="params/Dense_0")
    assert info.value.path == "params/Dense_0"
    assert "the nearest to 'kernal': 'kernel'" in str(info.value)
    with pytest.raises(SerializationError, match="nearest to 'Dense_3': 'Dense_1'"):
        restore(path, path="params/Dense_3")


def test_a_part_does_not_touch_the_rest(tmp_path):
    path = tmp_path / "state.msgpack"
    data = to_bytes({"a": np.zeros(100, "u1"), "b": 5, "c": 1})
    path.write_bytes(data[:-1] + b"\xc1")
    assert restore(path, path="b") == 5
    with pytest.raises(SerializationError) as info:
        restore(path)
    assert (info.value.path, info.value.offset) == ("c", len(data) - 1)


def test_file_objects(tmp_path):
    memory = io.BytesIO()
    memory.write(b"head")
    serialize(TREE, memory)
    memory.seek(4)
    assert_same(restore(memory, TREE), TREE)
    path = tmp_path / "state.msgpack"
    with open(path, "w+b") as file:
        file.write(b"head")
        assert serialize(TREE, file, durable=True) == len(to_bytes(TREE))
        file.seek(4)
        assert_same(restore(file, TREE), TREE)
        file.seek(0)
        with pytest.raises(SerializationError, match="more bytes follow"):
            restore(file)


def test_pipes():
    source, sink = os.pipe()

    def write():
        with open(sink, "wb") as file:
            serialize(TREE, file)

    thread = threading.Thread(target=write)
    thread.start()
    with open(source, "rb") as file:
        assert_same(restore(file, TREE), TREE)
    thread.join()


def test_raw_files_that_take_a_part_at_a_time():
    class Slow(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            taken = bytes(data[:1000])
            self.data += taken
            return len(taken)

    slow = Slow()
    tree = {"a": np.arange(300_000, dtype="u1"), "b": 1}
    serialize(tree, slow)
    assert slow.data == to_bytes(tree)

    class Full(Slow):
        def write(self, data):
            return None

    with pytest.raises(BlockingIOError):
        serialize(tree, Full())


def test_empty_and_missing_files(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(SerializationError, match="The data ends") as info:
        restore(path)
    assert info.value.offset == 0
    with pytest.raises(FileNotFoundError):
        restore(tmp_path / "missing")


def test_failing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "state.msgpack"
    serialize({"a": 1}, path)
    with pytest.raises(SerializationError) as info:
        serialize({"a": np.zeros(10**6), "b": {1, 2}}, path)
    assert info.value.path == "b"

    def full(data, file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stream, "_write_all", full)
    with pytest.raises(OSError, match="No space left"):
        serialize({"a": 2}, path)
    assert os.listdir(tmp_path) == ["state.msgpack"]
    assert restore(path) == {"a": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_full_disk():
    with pytest.raises(OSError, match=r"/dev/full|space") as info:
        serialize(TREE, "/dev/full")
    assert info.value.errno == errno.ENOSPC
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_stay_links(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "state")
    serialize({"a": 1}, link)
    assert link.is_symlink()
    assert from_bytes(None, (tmp_path / "folder" / "state").read_bytes()) == {"a": 1}


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    serialize({"a": 1}, "state", durable=True)
    assert restore("state") == {"a": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from Linux's /proc")
def test_memory_stays_small(tmp_path):
    # 128 MiB of arrays, half of them not contiguous: what is held beside them counts.
    program = """
import sys
import numpy as np
from batiste.serialization import restore, serialize

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024

tree = {str(i): np.ones((1024, 4096), "f4") for i in range(4)}
tree |= {f"t{i}": np.ones((4096, 1024), "f4").T for i in range(4)}
before = peak()
serialize(tree, sys.argv[1], max_chunk_size=2**23)
serialize(tree, sys.argv[1])
assert peak() - before < 2**26, peak() - before
del tree
"""
    path = tmp_path / "state.msgpack"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    # A mapped file takes no memory of its own until it is used.
    program = """
import resource, sys
from batiste.serialization import restore
small = restore(sys.argv[1], path="0")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tree = restore(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(tree) == 8 and (after - before) * 1024 < 2**23, after - before
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="needs the permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o666, 0o755])
def test_the_mode_of_the_file_that_is_replaced_is_kept(tmp_path, mode):
    path, link = tmp_path / "state.msgpack", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(mode)
    link.symlink_to(path)
    for file in (path, link):
        serialize(TREE, file)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert_same(restore(path), TREE)
    serialize(TREE, tmp_path / "new")
    (tmp_path / "plain").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="needs the permissions of POSIX")
def test_a_file_is_never_more_readable_while_it_is_written(tmp_path, monkeypatch):
    path = tmp_path / "state.msgpack"
    path.write_bytes(b"old")
    path.chmod(0o600)
    modes = []
    real = stream.write_parts

    def look(parts, file):
        modes.extend(stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir())
        return real(parts, file)

    monkeypatch.setattr(stream, "write_parts", look)
    serialize(TREE, path)
    assert modes == [0o600, 0o600]


@pytest.mark.parametrize("name", ["n" * 255, "n" * 220, "é" * 127])
def test_names_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    path = tmp_path / name
    for step in range(2):
        serialize({"step": step}, path)
        assert restore(path) == {"step": step}
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("file", [None, 3, b"state", {"w": 1}])
def test_what_is_no_file_is_an_error_that_says_so(file):
    with pytest.raises(TypeError, match="has to be a path, or a file"):
        restore(file)
    with pytest.raises(TypeError, match="has to be a path, or a file"):
        serialize(TREE, file)


ARRAYS = {
    "params": {
        "Dense_0": {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.zeros(3, "f4")},
        "Dense_1": [np.ones((2, 2), "f4"), (1, None)],
    },
    "step": 7,
}


@pytest.fixture
def tensors(tmp_path):
    path = tmp_path / "state.safetensors"
    data = to_bytes(ARRAYS, format="safetensors", metadata={"format": "flax"})
    assert serialize(ARRAYS, path, metadata={"format": "flax"}) == len(data)
    assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["state.safetensors"]
    return path


def test_safetensors_with_and_without_a_target(tensors):
    assert_same(restore(tensors, ARRAYS), ARRAYS)
    assert_same(from_bytes(ARRAYS, tensors.read_bytes()), ARRAYS)
    found = restore(tensors)
    assert found["step"] == 7
    assert found["params"]["Dense_1"]["1"] == {"0": 1, "1": None}
    kernel = restore(tensors, path="params/Dense_0/kernel")
    np.testing.assert_array_equal(kernel, ARRAYS["params"]["Dense_0"]["kernel"])
    target = ARRAYS["params"]["Dense_1"]
    assert_same(restore(tensors, target, path="params/Dense_1"), target)
    flat = restore(tensors, separator=None)
    assert sorted(flat) == [
        "params.Dense_0.bias",
        "params.Dense_0.kernel",
        "params.Dense_1.0",
        "params.Dense_1.1.0",
        "params.Dense_1.1.1",
        "step",
    ]


def test_what_is_said_of_safetensors(tensors, tmp_path):
    assert safetensors_metadata(tensors) == {"format": "flax"}
    with open(tensors, "rb") as file:
        assert safetensors_metadata(file) == {"format": "flax"}
    with pytest.raises(TypeError, match="has to be a path, or a file"):
        safetensors_metadata(3)
    serialize({"a": 1}, tmp_path / "other.msgpack")
    with pytest.raises(SerializationError, match="begins with 8 bytes"):
        safetensors_metadata(tmp_path / "other.msgpack")


def test_safetensors_are_views_that_are_aligned(tensors):
    for name, array in restore(tensors)["params"]["Dense_0"].items():
        assert not array.flags.writeable, name
        assert not array.flags.owndata
        assert array.flags.aligned
    copy = restore(tensors, copy=True)["params"]["Dense_0"]["kernel"]
    assert copy.flags.writeable
    tensors.unlink()
    assert copy.sum() == 15


def test_safetensors_to_and_from_open_files(tmp_path):
    memory = io.BytesIO()
    memory.write(b"head")
    size = serialize(ARRAYS, memory, format="safetensors")
    assert size == len(memory.getvalue()) - 4
    memory.seek(4)
    assert_same(restore(memory, ARRAYS), ARRAYS)
    # The name says nothing where the format is said.
    serialize(ARRAYS, tmp_path / "a.safetensors", format="msgpack")
    assert (tmp_path / "a.safetensors").read_bytes() == to_bytes(ARRAYS)
    with open(tmp_path / "file", "w+b") as file:
        serialize(ARRAYS, file, format="safetensors", durable=True)
        file.seek(0)
        assert_same(restore(file, ARRAYS, copy=True), ARRAYS)


def test_failing_leaves_the_old_safetensors(tensors, monkeypatch):
    before = tensors.read_bytes()
    with pytest.raises(SerializationError) as info:
        serialize({"a": np.zeros(10**6), "b": {"c": {1, 2}}}, tensors)
    assert info.value.path == "b/c"

    def full(data, file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stream, "_write_all", full)
    with pytest.raises(OSError, match="No space left"):
        serialize(ARRAYS, tensors)
    assert os.listdir(tensors.parent) == ["state.safetensors"]
    assert tensors.read_bytes() == before


def test_flipped_bits_of_safetensors(tensors):
    if not hasattr(os, "getxattr"):
        pytest.skip("checks need the attributes of Linux")
    try:
        check = os.getxattr(tensors, "user.batiste.check")
    except OSError:
        pytest.skip("the file system has no attributes")
    assert_same(restore(tensors, ARRAYS, verify=True), ARRAYS)
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    os.setxattr(tensors, "user.batiste.check", check)
    with pytest.raises(SerializationError, match="The file is damaged"):
        restore(tensors, verify=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes of Unix")
def test_savers_of_safetensors_that_are_killed(tmp_path):
    program = """
import sys
import numpy as np
from batiste.serialization import serialize
for step in range(1, 10**6):
    serialize({"a": np.full(50_000, step)}, sys.argv[1])
    print(step, flush=True)
"""
    path = tmp_path / "state.safetensors"
    for kill in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
        ) as saver:
            for _ in range(1 + 3 * kill):
                done = int(saver.stdout.readline())
            saver.kill()
            done += len(saver.stdout.readlines())
        found = restore(path)["a"]
        assert found.min() == found.max() >= done

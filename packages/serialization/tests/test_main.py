"""The command, as a shell runs it."""

import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from batiste.serialization import msgpack_serialize, serialize, to_bytes

TREE = {
    "params": {"kernel": np.zeros((3, 4), "f4"), "größe\N{GREEK SMALL LETTER PI}": 1},
    "\x1b[2J\x1b]0;title\x07": "\x1b[31mred",
    "x" * 100_000: "y" * 100_000,
    "right\N{RIGHT-TO-LEFT OVERRIDE}left": 2.5,
}
COMMAND = [sys.executable, "-m", "batiste.serialization"]
PLAIN = pytest.mark.parametrize("options", [(), ("--plain",)], ids=["rich", "plain"])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    return path


def run(*arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        timeout=60,
    )


def check_refused(done, *parts, encoding="utf-8"):
    """One line that can be shown, and an exit code."""
    text = done.stderr.decode(encoding)
    assert done.returncode == 1, text
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert len(text) < 10_000
    assert "Traceback" not in text
    for part in parts:
        assert part in text


@PLAIN
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252", "utf-16"])
def test_terminals_of_any_encoding(path, options, encoding):
    done = run(path, *options, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert "kernel" in text
    assert all(line.isprintable() for line in text.splitlines())
    assert max(map(len, text.splitlines())) < 400
    assert len(text) < 4000
    assert ("größe" in text) == (encoding != "ascii")


@PLAIN
def test_a_terminal_in_the_c_locale(path, options):
    done = run(path, *options, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_messages_on_terminals_of_any_encoding(tmp_path, encoding):
    file = tmp_path / "größe\n\x1b[2J\N{GREEK SMALL LETTER PI}"
    done = run(file, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    check_refused(done, "No such file or dir", "\\x1b[2J", encoding=encoding)


@PLAIN
@pytest.mark.skipif(os.name == "nt", reason="pipes differ on Windows")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_had_enough(tmp_path, options, unbuffered):
    serialize({str(i): i for i in range(5000)}, tmp_path / "long")
    source, sink = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path / "long"), *options],
        stdout=sink,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(sink)
    assert len(os.read(source, 10)) == 10
    os.close(source)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 141


@PLAIN
def test_a_reader_that_has_had_enough_of_little(path, options):
    source, sink = os.pipe()
    os.close(source)
    done = run(path, *options, stdout=sink)
    os.close(sink)
    assert (done.returncode, done.stderr) == (141, b"")


@PLAIN
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("count", [1, 5000])
def test_a_full_device(tmp_path, options, count):
    serialize({str(i): i for i in range(count)}, tmp_path / "file")
    with open("/dev/full", "wb") as full:
        done = run(tmp_path / "file", *options, stdout=full)
        check_refused(done, "standard output: No space left on device")
        # Nowhere to say it either.
        program = [*COMMAND, str(tmp_path / "file"), *options]
        assert subprocess.run(program, stdout=full, stderr=full).returncode == 1


DAMAGED = {
    "empty": b"",
    "cut": to_bytes(TREE)[:50],
    "text": b"no checkpoint\n",
    "escape": b"\x82\xa4\x1b[2J\x01\xa4\x1b[2J\x02",
    "deep": b"\x81\xa4\x1b[2J" * 1001 + b"\x01",
    "long": b"\x81\xdb\x00\x01\x00\x00" + b"\x1b" * 65536 + b"\xc1",
    "wide": b"".join([b"\x81\xdb\0\0\1\0" + b"x" * 256] * 900) + b"\xc1",
    "zero": b"\x81\xc7\x1f\x03\x93\x90\xaedatetime64[0s]\xc4\x08" + b"\0" * 8 + b"\x01",
    "random": bytes(range(256)),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_damaged_files(tmp_path, name, encoding):
    (tmp_path / "file").write_bytes(DAMAGED[name])
    check_refused(run(tmp_path / "file", PYTHONIOENCODING=encoding), "byte")


@pytest.mark.parametrize(
    "part", ["no/such", "\x1b[2J", "z" * 100_000, "params/kernel/q"]
)
def test_parts_that_are_not_there(path, part):
    check_refused(run(path, "--path", part), "nothing at")


def test_parts_with_names_that_steer(path):
    done = run(path, "--plain", "--path", "\x1b[2J\x1b]0;title\x07")
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout


def test_folders_and_files_that_are_not_there(tmp_path):
    check_refused(run(tmp_path), "this is a folder. Orbax writes such")
    check_refused(run(tmp_path / "none"), "No such file or directory")
    check_refused(run(tmp_path / "none" / "none"), "No such file or directory")
    check_refused(run(tmp_path / ("x" * 300)), "name too long")
    check_refused(run("x\0y".replace("\0", "\n")), "No such file")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read it")
def test_files_of_others(path):
    path.chmod(0)
    check_refused(run(path), "Permission denied")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    check_refused(run(fifo), "nothing was written to this pipe within 2 s")
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)
    data = msgpack_serialize({"a": np.zeros(300_000, "u1"), "b": 1})

    def write():
        with open(fifo, "wb") as file:
            file.write(data[:10])
            file.flush()
            file.write(data[10:])

    thread = threading.Thread(target=write)
    thread.start()
    done = run(fifo, "--plain")
    thread.join()
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"uint8[300000]" in done.stdout


@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="needs bash")
def test_process_substitution(path):
    script = f"{' '.join(COMMAND)} <(sleep 0.2; cat {path}) --plain | head -n 2"
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, timeout=60)
    assert done.stderr == b""
    assert b"dict" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs Unix's devices")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_devices(device):
    check_refused(run(device), "device or a socket")


@PLAIN
@pytest.mark.skipif(not os.path.exists("/bin/sh"), reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-", "<&-"])
def test_closed_streams(path, options, closed):
    for file in (path, path.with_name("none")):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, file, *options],
            capture_output=True,
            timeout=60,
        )
        fails = file != path or closed.startswith(">&-")
        assert done.returncode == int(fails)
        assert b"Traceback" not in done.stderr
        assert done.stderr.count(b"\n") <= 1

"""The command, as a shell runs it."""

import io
import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from batiste.serialization import msgpack_serialize, serialize, to_bytes
from batiste.serialization.__main__ import main

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
    check_refused(run(tmp_path), "this is a folder, neither one of Orbax nor")
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


ARRAYS = {"params": {"kernel": np.arange(6, dtype="f4").reshape(2, 3)}, "step": 7}


@pytest.fixture
def arrays(tmp_path):
    serialize(ARRAYS, tmp_path / "a.msgpack")
    return tmp_path


def test_convert(arrays):
    for a, b in (("a.msgpack", "b.safetensors"), ("b.safetensors", "c.npz")):
        done = run("convert", arrays / a, arrays / b)
        assert (done.returncode, done.stderr) == (0, b"")
        kind = b.partition(".")[2]
        text = f"{arrays / b}: {kind}, arrays: 1, size: 24 B, verified"
        assert done.stdout.decode().rstrip() == text
    assert np.load(arrays / "c.npz")["params/kernel"].sum() == 15
    check_refused(run("convert", arrays / "a.msgpack", arrays / "c.npz"), "--force")
    done = run("convert", arrays / "a.msgpack", arrays / "c.npz", "--force")
    assert done.returncode == 0
    done = run("convert", "--to", "msgpack", arrays / "c.npz", arrays / "d")
    assert done.returncode == 0
    assert (arrays / "d").read_bytes() == (arrays / "a.msgpack").read_bytes()


def test_convert_what_is_refused(arrays):
    a = arrays / "a.msgpack"
    check_refused(run("convert", arrays / "none", arrays / "b.npz"), "No such file")
    check_refused(run("convert", a, arrays / "b.bin"), "Pass --to with one of")
    for folder, why in (("none", "is not there"), ("a.msgpack", "is no folder")):
        text = "nothing is written into archives"
        check_refused(run("convert", a, arrays / folder / "b.npz"), why, text)
    a.write_bytes(b"\x81\xa1a")
    check_refused(run("convert", a, arrays / "b.npz"), "The data ends", "byte 3")
    assert os.listdir(arrays) == ["a.msgpack"]
    assert run("convert").returncode == 2
    assert b"usage: python -m batiste.serialization convert" in run("convert").stderr


def test_which_of_two_files_it_is_is_said(arrays, monkeypatch, capsys):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(arrays / "b.npz"))

    monkeypatch.setattr("batiste.serialization.__main__.convert", refuse)
    assert main(["convert", str(arrays / "a.msgpack"), "b.npz"]) == 1
    text = f"{arrays / 'a.msgpack'}: Permission denied: {arrays / 'b.npz'}\n"
    assert capsys.readouterr().err == text


def test_convert_with_names_that_hold_the_separator(arrays):
    serialize({"a.b": np.ones(1)}, arrays / "b.msgpack")
    one, two = arrays / "b.msgpack", arrays / "b.safetensors"
    check_refused(run("convert", one, two), "holds '.'", "at a.b")
    assert run("convert", "--separator", "", one, two).returncode == 0
    assert run("diff", "--separator", "", one, two).returncode == 0
    assert run("diff", one, two).returncode == 1


def test_diff(arrays):
    serialize({**ARRAYS, "step": 8, "\x1b[2J": 1}, arrays / "b.safetensors")
    done = run("diff", arrays / "a.msgpack", arrays / "a.msgpack")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().split() == "no difference in 2 leaves".split()
    done = run("diff", arrays / "a.msgpack", arrays / "b.safetensors")
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.decode().splitlines() == [
        "step: 7 and 8",
        "\\x1b[2J: only in the second, 1",
        "differences: 2",
    ]
    done = run(
        "diff", "--path", "params", arrays / "a.msgpack", arrays / "b.safetensors"
    )
    assert done.returncode == 0


def test_diff_what_is_refused(arrays):
    a = arrays / "a.msgpack"
    for names in ((a, arrays / "none"), (arrays / "none", a)):
        done = run("diff", *names)
        assert done.returncode == 2
        assert done.stderr.count(b"\n") == 1
        assert b"none: No such file" in done.stderr
        assert done.stdout == b""
    done = run("diff", a, a, "--path", "no")
    assert done.returncode == 2
    assert b"nothing at 'no'" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_diff_to_a_full_device(arrays):
    a = arrays / "a.msgpack"
    with open("/dev/full", "wb") as full:
        check_refused(run("diff", a, a, stdout=full), "standard output: No space left")


@pytest.mark.parametrize("command", ["convert", "diff"])
def test_files_that_are_called_as_commands_are(arrays, command):
    (arrays / "a.msgpack").rename(arrays / command)
    done = run(arrays / command, "--plain")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"float32[2, 3]" in done.stdout


@pytest.mark.parametrize(
    ("called", "arguments"),
    [("rows", []), ("convert", ["convert"]), ("compare", ["diff"]), ("render", [])],
)
def test_an_interrupt_ends_it_quietly(arrays, monkeypatch, capsys, called, arguments):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"batiste.serialization.__main__.{called}", interrupted)
    # The stream of the terminal is closed after that; this is not pytest's.
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    a, b = str(arrays / "a.msgpack"), str(arrays / "b.npz")
    files = {"convert": [a, b], "compare": [a, a]}.get(called, [a, "--plain"])
    assert main([*arguments, *files]) == 130
    assert capsys.readouterr().err == ""
    assert not os.path.exists(b)


def test_a_bar_on_a_terminal(arrays, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    arguments = ["convert", str(arrays / "a.msgpack"), str(arrays / "b.npz")]

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(arguments) == 0
    assert "0.00/48.0" in terminal.getvalue()
    # None where nobody looks, or without tqdm.
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main([*arguments, "--force"]) == 0
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main([*arguments, "--force"]) == 0
    assert terminal.getvalue() == sys.stderr.getvalue() == ""


def test_every_format_is_listed(arrays):
    import tarfile

    run("convert", arrays / "a.msgpack", arrays / "b.safetensors")
    run("convert", arrays / "a.msgpack", arrays / "c.npz")
    with tarfile.open(arrays / "x.tar", "w") as archive:
        for name in ("a.msgpack", "b.safetensors", "c.npz"):
            archive.add(arrays / name, name)
    expected = run(arrays / "a.msgpack", "--plain").stdout
    for place in ("", "x.tar/"):
        for name in ("b.safetensors", "c.npz"):
            done = run(arrays / f"{place}{name}", "--plain")
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout == expected
    done = run(arrays / "x.tar", "--plain")
    assert done.returncode == 0
    assert b"  b.safetensors" in done.stdout
    check_refused(run(arrays / "x.tar/none"), "There is no file 'none'", "'c.npz'")

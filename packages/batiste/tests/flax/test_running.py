"""Scripts, modules and texts run as Python itself would run them."""

import os
import subprocess
import sys
import threading
import zipfile

import pytest

COMMAND = ("-m", "batiste.flax")

# It costs less than to import flax, and JAX with it.
VERSION = "from importlib.metadata import version; print(version('flax'))"


def test_a_script(run, write):
    write("folder/helper.py", "from flax.linen import Dense\nname = Dense.__module__\n")
    script = write(
        "folder/script.py",
        """if 1:
        import sys, helper, flax
        assert __name__ == "__main__" and sys.modules["__main__"].__spec__ is None
        assert __file__ == sys.argv[0] and __package__ is None
        print(flax.__version__, helper.name, sys.argv[1:], sys.path[0])
        import pickle
        class Local: pass
        assert type(pickle.loads(pickle.dumps(Local()))) is Local
        """,
    )
    out = run(*COMMAND, script, "-m", "--generation", "x").split(maxsplit=2)
    assert out[:2] == ["0.12.8", "batiste.linen.linear.dense"]
    assert out[2].strip() == f"['-m', '--generation', 'x'] {script.parent}"


def test_annotations_are_evaluated_as_usual(run, write):
    # The runner's own `from __future__ import annotations` is not the program's.
    write("script.py", "def f(x: 1 + 1): pass\nprint(f.__annotations__)\n")
    assert run(*COMMAND, "script.py").strip() == "{'x': 2}"
    out = run(*COMMAND, "-c", "def f(x: 2 + 1): pass\nprint(f.__annotations__)")
    assert out.strip() == "{'x': 3}"


def test_a_module_and_a_package(run, write):
    text = "import sys\nprint(__spec__.name, __package__, sys.argv[1:], __file__)\n"
    write("package/__init__.py", "")
    module = write("package/module.py", text)
    main = write("package/__main__.py", text)
    out = run(*COMMAND, "-m", "package.module", "-c", "a").strip()
    assert out == f"package.module package ['-c', 'a'] {module}"
    out = run(*COMMAND, "-mpackage").strip()
    assert out == f"package.__main__ package [] {main}"


def test_code(run):
    code = f"{VERSION}; import sys; print(sys.argv, sys.path[0] == '')"
    assert run(*COMMAND, "-c", code, "a") == "0.12.8\n['-c', 'a'] True\n"


def test_a_folder_and_an_archive(run, write, tmp_path):
    write("app/__main__.py", "import part\nprint(__name__, part.x)\n")
    write("app/part.py", "x = 1\n")
    assert run(*COMMAND, "app").strip() == "__main__ 1"
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        for name in ("__main__.py", "part.py"):
            archive.write(tmp_path / "app" / name, name)
    assert run(*COMMAND, "app.pyz").strip() == "__main__ 1"


def test_what_is_done_at_exit_finds_the_program(run, write):
    write(
        "script.py",
        "import atexit, pickle\nclass A: pass\n"
        "atexit.register(lambda: print(type(pickle.loads(pickle.dumps(A())))))\n",
    )
    assert run(*COMMAND, "script.py").strip() == "<class '__main__.A'>"


def test_safe_paths_stay_safe(run, write):
    write("helper.py", "")
    out = run("-P", *COMMAND, "-c", "import sys; print('' in sys.path)")
    assert out.strip() == "False"
    assert "No module named 'helper'" in run(
        "-P", *COMMAND, "-c", "import helper", code=1
    )


PROGRAM = f"{VERSION}; import sys; print(__name__, sys.argv[1:])"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_script_from_a_named_pipe(run, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread = threading.Thread(target=fifo.write_text, args=(PROGRAM,))
    thread.start()
    assert run(*COMMAND, fifo, "a") == "0.12.8\n__main__ ['a']\n"
    thread.join()


@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="needs bash")
def test_a_script_from_a_process(write):
    script = f"'{sys.executable}' -m batiste.flax <(cat '{write('p.py', PROGRAM)}') a"
    done = subprocess.run(
        ["/bin/bash", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "0.12.8\n__main__ ['a']\n", done.stderr


@pytest.mark.parametrize("generation", [(), ("--generation", "0.6")])
def test_standard_input(generation):
    text = f"# -*- coding: latin-1 -*-\n{PROGRAM}; print('\xe4', sys.argv[0])"
    done = subprocess.run(
        [sys.executable, *COMMAND, *generation, "-", "a", "-c"],
        input=text.encode("latin-1"),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=120,
    )
    version = "0.6.9" if generation else "0.12.8"
    expected = f"{version}\n__main__ ['a', '-c']\n\xe4 -\n"
    assert done.stdout.decode() == expected, done.stderr

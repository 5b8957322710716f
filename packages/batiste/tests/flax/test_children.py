"""Processes that a program starts: they find Batiste under flax, too."""

import os
import sys

import pytest

from batiste.flax import children

COMMAND = ("-m", "batiste.flax")
# It costs a child less than to import flax, and JAX with it.
SHOW = "from importlib.metadata import version; print(version('flax'))"


def test_interpreters(run, write):
    write(
        "script.py",
        f"import subprocess, sys\nfor more in ([], ['-P']):\n"
        f"    subprocess.run([sys.executable, *more, '-c', {SHOW!r}], check=True)\n",
    )
    out = run(*COMMAND, "--generation", "0.6", "script.py")
    assert out == "0.6.9\n" * 2


def test_grandchildren_and_their_paths(run):
    inner = f"{SHOW}; import sys; print(*sys.path, sep='|')"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    whole = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {outer!r}])"
    version, folders = run(*COMMAND, "-c", whole).splitlines()
    assert version == "0.12.8"
    assert children.STARTUP not in folders.split("|")


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers(run, write, method):
    if method != "spawn" and sys.platform == "win32":
        pytest.skip("Windows has only spawn")
    write(
        "script.py",
        """if 1:
        import multiprocessing, warnings
        warnings.simplefilter("ignore")
        class Config:
            pass
        def work(config):
            import flax.linen.linear as linear
            return linear.Dense.__module__, type(config).__name__
        if __name__ == "__main__":
            with multiprocessing.get_context("METHOD").Pool(1) as pool:
                print(*pool.map(work, [Config()]))
        """.replace("METHOD", method),
    )
    out = run(*COMMAND, "script.py")
    assert out.strip() == "('batiste.linen.linear.dense', 'Config')"


def test_workers_of_a_module(run, write):
    write("package/__init__.py", "")
    write(
        "package/program.py",
        """if 1:
        import multiprocessing
        def work(x):
            from importlib.metadata import version
            return version("flax"), __name__
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(*pool.map(work, [0]))
        """,
    )
    out = run(*COMMAND, "-m", "package.program")
    assert out.strip() == "('0.12.8', '__mp_main__')"


def test_install_prepares_children_and_uninstall_ends_it(run):
    program = """
        import batiste.flax, subprocess, sys
        child = [sys.executable, "-c", "import importlib.util as u;"
                 "print(getattr(u.find_spec('flax'), 'origin', None) == 'batiste')"]
        for step in (batiste.flax.install, batiste.flax.uninstall):
            step()
            print(subprocess.run(child, capture_output=True, text=True).stdout.strip())
        """
    assert run("-c", "if 1:" + program).split() == ["True", "False"]


def test_a_child_may_uninstall(run):
    inner = (
        "import batiste.flax, os; print(batiste.flax.installed_generation()); "
        "batiste.flax.uninstall(); print(os.environ.get('PYTHONPATH'))"
    )
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    out = run(*COMMAND, "-c", outer, env={"PYTHONPATH": "somewhere"})
    generation, path = out.split()
    assert generation == "0.12"
    assert path.split(os.pathsep)[0] == "somewhere"


def test_another_sitecustomize_runs_as_well(run, write):
    write("mine/sitecustomize.py", "import sys\nsys.mine = 'loaded'\nown = 1\n")
    show = f"{SHOW}; import sys, sitecustomize; print(sys.mine, sitecustomize.own)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {show!r}])"
    assert run(*COMMAND, "-c", code, env={"PYTHONPATH": "mine"}) == (
        "0.12.8\nloaded 1\n"
    )


def test_interpreters_without_batiste_are_left_alone(run, tmp_path):
    # A package of this name that has nothing below it hides Batiste.
    (tmp_path / "batiste.py").write_text("")
    folders = os.pathsep.join([children.STARTUP, str(tmp_path)])
    env = {"PYTHONPATH": folders, children.VARIABLE: "0.12"}
    code = "import batiste, sys; print(batiste.__file__, 'batiste.flax' in sys.modules)"
    assert run("-c", code, env=env).split() == [str(tmp_path / "batiste.py"), "False"]


def test_the_variable_alone_does_nothing(run):
    code = "import sys; print('batiste.flax' in sys.modules)"
    env = {"PYTHONPATH": children.STARTUP}
    assert run("-c", code, env=env).strip() == "False"


@pytest.mark.parametrize("generation", ["", "0.7", "0.12 ", "newest"])
def test_a_bad_generation_in_the_environment_ends_the_process(run, generation):
    env = {"PYTHONPATH": children.STARTUP, children.VARIABLE: generation}
    found = run("-c", "print('went on')", env=env, code=2)
    assert found.count("\n") == 1
    assert f"There is no generation {generation!r}" in found
    assert children.VARIABLE in found

"""The pytest plugin."""

TEST = """
import subprocess, sys
from importlib.metadata import version

def test_alias():
    assert version("flax") == {version!r}

def test_child():
    code = "from importlib.metadata import version; print(version('flax'))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == {version!r}
"""
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider")
PLUGIN = ("-p", "batiste.flax.pytest")


def test_suites_whose_conftest_imports_flax(run, write):
    write("conftest.py", "from flax.linen import Dense as Dense\n")
    write("test_it.py", TEST.format(version="0.12.8"))
    out = run(*PYTEST, *PLUGIN)
    assert "2 passed" in out
    assert "flax: batiste, with the defaults of generation 0.12" in out


def test_the_option_and_the_setting(run, write):
    write("test_it.py", TEST.format(version="0.6.9"))
    assert "2 passed" in run(*PYTEST, *PLUGIN, "--flax-generation", "0.6")
    write("pytest.ini", "[pytest]\nflax_generation = 0.6\n")
    assert "2 passed" in run(*PYTEST, *PLUGIN)


def test_a_plugin_named_in_a_conftest(run, write):
    write("conftest.py", "pytest_plugins = ['batiste.flax.pytest']\n")
    write("test_it.py", TEST.format(version="0.12.8"))
    assert "2 passed" in run(*PYTEST)


def test_wrong_generations(run):
    err = run(*PYTEST, *PLUGIN, "--flax-generation", "0.7", code=4)
    assert "There is no generation '0.7'" in err


def test_the_released_flax_imported_before(run, write, released_flax):
    write("early.py", "import flax\n")
    env = {"PYTHONPATH": f"{released_flax}"}
    err = run(*PYTEST, "-p", "early", *PLUGIN, env=env, code=4)
    assert "the released flax is imported already" in err


def test_undone_at_the_end(run, write):
    write("test_it.py", TEST.format(version="0.12.8"))
    program = (
        "import pytest, importlib.util; "
        "assert pytest.main(['-q', '-p', 'batiste.flax.pytest']) == 0; "
        "print(getattr(importlib.util.find_spec('flax'), 'origin', None) == 'batiste')"
    )
    assert run("-c", program).strip().endswith("False")

"""The command line: python -m batiste.flax."""

import pytest

COMMAND = ("-m", "batiste.flax")

# It costs less than to import flax, and JAX with it.
VERSION = "from importlib.metadata import version; print(version('flax'))"


def test_generations(run):
    code = "import flax; print(flax.__version__, flax.config.return_frozendict)"
    assert run(*COMMAND, "--generation", "0.6", "-c", code) == "0.6.9 True\n"
    assert run(*COMMAND, "--generation=0.6", "-c", VERSION) == "0.6.9\n"


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        ([], 2, "name a script, give -m module or -c code, or - for"),
        (["--generation", "0.7", "x.py"], 2, "invalid choice: '0.7'"),
        (["--nothing", "x.py"], 2, "unrecognized arguments: --nothing"),
        (["-x", "x.py"], 2, "unknown option -x"),
        (["-m"], 2, "argument expected for the -m option"),
        (["nothing.py"], 2, "no such file: 'nothing.py'"),
        (["-m", "no_module"], 1, "cannot run 'no_module': no such module"),
        (["-m", "json"], 1, "a package without a __main__ module"),
        (["-c", "import sys; sys.exit(7)"], 7, ""),
        (["-c", "1 / 0"], 1, "ZeroDivisionError"),
    ],
)
def test_failures(run, arguments, code, match):
    assert match in run(*COMMAND, *arguments, code=code)


def test_help(run):
    assert "--generation" in run(*COMMAND, "--help")


def test_the_released_flax_is_hidden(run, released_flax):
    env = {"PYTHONPATH": str(released_flax)}
    assert run("-c", VERSION, env=env) == "9.9.9\n"
    assert run(*COMMAND, "-c", VERSION, env=env) == "0.12.8\n"


def test_flags_of_the_environment(run):
    code = "import flax; print(flax.config.flax_return_frozendict)"
    env = {"FLAX_RETURN_FROZENDICT": "1"}
    assert run(*COMMAND, "-c", code, env=env).strip() == "True"

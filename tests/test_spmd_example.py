"""The sharded transformer, run as its README says, on CPU devices that are made up."""

import importlib.util
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "spmd_transformer"
README = (EXAMPLE / "README.md").read_text("utf-8")
ENV = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    # Compiling takes most of the time, and less so where XLA optimizes less.
    "XLA_FLAGS": "--xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
}
ROUNDING = 2e-6  # of losses with six decimals, as they are printed


def words(line):
    """A command of the README, to run from any folder."""
    assert line in README.splitlines()
    python, script, *args = shlex.split(line)
    assert python == "python"
    return [sys.executable, str(EXAMPLE / Path(script).name), *args]


def run(command, cwd):
    return subprocess.run(
        command, capture_output=True, text=True, env=ENV, cwd=cwd, timeout=600
    )


def losses(output):
    return {
        int(step): float(loss)
        for step, loss in re.findall(r"step +(\d+)  loss ([\d.]+)", output)
    }


def assert_same(found, wanted):
    assert found.keys() <= wanted.keys()
    for step, loss in found.items():
        assert loss == pytest.approx(wanted[step], rel=ROUNDING), step


def module(name):
    spec = importlib.util.spec_from_file_location(
        f"spmd_{name}", EXAMPLE / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of one process on one device."""
    command = [sys.executable, str(EXAMPLE / "main.py"), "--devices", "1"]
    result = run([*command, "--steps", "15"], tmp_path_factory.mktemp("alone"))
    assert result.returncode == 0, result.stderr
    found = losses(result.stdout)
    assert list(found) == list(range(1, 16))
    assert found[15] < found[1] - 1
    return found


def test_all_layouts_agree_with_one_device(tmp_path):
    result = run(words("python examples/spmd_transformer/compare.py"), tmp_path)
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^(\w+) +(\w+=.*?)  .*  (\S+)$", result.stdout, re.M)
    assert {(layout, mesh.strip()) for layout, mesh, _ in rows} == {
        ("data", "data=8"),
        ("experts", "data=2, expert=4"),
        ("fsdp", "data=8"),
        ("fsdp_tensor", "data=4, tensor=2"),
        ("sequence", "data=2, sequence=4"),
        ("tensor", "data=2, tensor=4"),
        ("tensor_sequence", "data=2, tensor=4"),
    }
    for layout, _, apart in rows:
        assert float(apart) < ROUNDING, layout


def test_two_processes_continue_what_four_saved(tmp_path, alone):
    common = "python examples/spmd_transformer/main.py --layout fsdp_tensor "
    four = common + "--processes 4 --devices 2 --steps 10 --checkpoints run"
    two = common + "--processes 2 --devices 2 --steps 15 --checkpoints run"

    first = run(words(four), tmp_path)
    assert first.returncode == 0, first.stderr
    assert "4 processes, 8 devices: data=4, tensor=2" in first.stdout
    assert list(losses(first.stdout)) == list(range(1, 11))
    assert_same(losses(first.stdout), alone)

    second = run(words(two), tmp_path)
    assert second.returncode == 0, second.stderr
    assert "2 processes, 4 devices: data=2, tensor=2" in second.stdout
    assert "continue from step 10 of run" in second.stdout
    assert list(losses(second.stdout)) == list(range(11, 16))
    assert_same(losses(second.stdout), alone)

    command = [sys.executable, str(EXAMPLE / "main.py"), "--seed", "1"]
    other = run([*command, "--devices", "1", "--checkpoints", "run"], tmp_path)
    assert other.returncode != 0
    assert "run is of a run with --seed 0, not 1. Give --seed 0" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize("victim", [0, 1])
def test_others_end_when_a_process_is_killed(tmp_path, alone, victim):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    line = (
        "python examples/spmd_transformer/main.py --layout fsdp_tensor --devices 2 "
        "--checkpoints run --processes 2 --coordinator localhost:12321 --process-id {}"
    )
    logs = [tmp_path / f"{index}.log" for index in range(2)]
    running = []
    for index in range(2):
        command = " ".join(words(line.format(index))).replace("12321", str(port))
        options = "--steps 100000 --save-every 2"
        with logs[index].open("w") as log:
            running.append(
                subprocess.Popen(
                    f"{command} {options}".split(),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=ENV,
                    cwd=tmp_path,
                )
            )
    try:
        deadline = time.monotonic() + 240
        while not (tmp_path / "run" / "checkpoint_2").exists():
            assert time.monotonic() < deadline
            assert all(each.poll() is None for each in running), logs[0].read_text()
            time.sleep(0.05)
        running[victim].kill()
        # Within the default --timeout, and what starting a dump takes.
        status = running[1 - victim].wait(timeout=60)
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert status != 0
    said = logs[1 - victim].read_text()
    ours = f"Process {1 - victim} of 2 cannot go on, as a rule because another process"
    # JAX may be the first to end a process: where the one that the others report to is
    # lost, and where this one waits for the other outside of its program, as to save.
    by_jax = "most likely indicates that another task died" in said
    assert ours in said or by_jax, said
    if victim == 0:
        return
    # The last checkpoint is complete, and the run goes on, here in one process.
    saved = max(
        int(path.name.removeprefix("checkpoint_"))
        for path in (tmp_path / "run").glob("checkpoint_*")
        if path.name.removeprefix("checkpoint_").isdecimal()
    )
    command = [sys.executable, str(EXAMPLE / "main.py"), "--layout", "fsdp_tensor"]
    command += ["--devices", "2", "--checkpoints", "run", "--steps", str(saved + 2)]
    result = run(command, tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"continue from step {saved} of run" in result.stdout
    assert list(losses(result.stdout)) == [saved + 1, saved + 2]
    assert_same({k: v for k, v in losses(result.stdout).items() if k <= 15}, alone)


def test_plan_of_70_billion_parameters(tmp_path):
    line = "python examples/spmd_transformer/plan_70b.py --params-only"
    result = run(words(line), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mesh: data=64, tensor=8 (512 devices)" in result.stdout
    assert "total: 256.96 GiB, 513.98 MiB per device" in result.stdout
    assert "no rule applied to: layers (" in result.stdout
    assert "does not divide" not in result.stdout
    table = [" ".join(row.split()) for row in result.stdout.splitlines()]
    assert (
        "blocks/mlp/up/kernel 80x8192x28672 float32 layers, embed, mlp "
        "-, data, tensor 512 140.00 MiB"
    ) in table
    # FSDP gathers each block's weights over "data", forwards and backwards...
    assert "all-gather data f32[8192,3584] 112.00 MiB 320 35.00 GiB" in table
    # ... and tensor parallelism sums activations over "tensor".
    assert re.search(r"all-reduce +tensor +f32\[8,4096,8192\]", result.stdout)


def test_plan_tells_what_does_not_divide(tmp_path):
    line = (
        "python examples/spmd_transformer/plan_70b.py --params-only "
        "--mesh data=32,tensor=16"
    )
    result = run(words(line), tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("key", "value"):
        shown = (
            f"does not divide: blocks/attention/{name}/kernel has 8 in dimension 2, "
            "for 16 parts"
        )
        assert shown in result.stdout
        assert shown in README


def test_readme_shows_the_layout_as_it_is():
    assert (EXAMPLE / "layouts" / "fsdp_tensor.toml").read_text("utf-8") in README
    listed = set(re.findall(r"^\| `(\w+)` \|", README, re.M))
    assert listed == {path.stem for path in EXAMPLE.glob("layouts/*.toml")}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--layout cats", "no layout 'cats'. Name a TOML file, or one of: data, "),
        ("--layout tensor --devices 2", "on a multiple of 4 devices"),
        ("--steps 0", "--steps must be at least 1"),
        ("--process-id 1", "--process-id and --coordinator go together"),
        ("--process-id 1 --coordinator a:1", "counts from 0 to one less than"),
    ],
)
def test_bad_options_say_what_is_wrong(tmp_path, args, message):
    command = [sys.executable, str(EXAMPLE / "main.py"), "--devices", "1"]
    result = run([*command, *args.split()], tmp_path)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_starter_tells_which_processes_failed(tmp_path):
    command = [sys.executable, str(EXAMPLE / "main.py"), "--devices", "1"]
    result = run([*command, "--processes", "2", "--layout", "cats"], tmp_path)
    assert result.returncode == 1
    for index in range(2):
        assert f"Process {index} ended with status 1." in result.stderr
    assert "no layout 'cats'" in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        "mesh = {",
        "rules = []",
        "mesh = { a = -1, b = -1 }\nrules = []",
        "mesh = { a = 0 }\nrules = []",
        'mesh = { a = 1 }\nrules = [["batch"]]',
    ],
)
def test_bad_layouts_say_which_file(tmp_path, text):
    layout = module("layout")
    path = tmp_path / "own.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(layout.LayoutError, match=re.escape(str(path))):
        layout.load(str(path))


def test_text_is_of_a_size_to_learn_from():
    text = module("data").text()
    assert len(text) > 100_000
    assert text.dtype == np.uint8
    assert b"statement" in bytes(text)


def test_parts_of_a_batch_are_those_of_the_whole():
    batches = module("data").Batches(np.arange(1000), batch_size=8, length=6, seed=3)
    whole = batches.part(5, slice(None), slice(None))
    part = batches.part(5, slice(2, 4), slice(3, 6))
    for name in ("inputs", "targets"):
        assert whole[name].shape == (8, 6)
        np.testing.assert_array_equal(part[name], whole[name][2:4, 3:6])
    np.testing.assert_array_equal(whole["targets"], whole["inputs"] + 1)
    assert (
        whole["inputs"] != batches.part(6, slice(None), slice(None))["inputs"]
    ).any()

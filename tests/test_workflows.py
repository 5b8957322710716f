"""The workflows call the sessions of noxfile.py, with as few rights as they need."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"

sys.path.insert(0, str(ROOT / "tests" / "sessions"))

from linting import commands  # noqa: E402

WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text("utf-8"))
    for path in sorted((GITHUB / "workflows").glob("*.yml"))
}
JOBS = [(w, name) for w, workflow in WORKFLOWS.items() for name in workflow["jobs"]]

# The only rights beyond reading the files, and the jobs that have them.
RIGHTS = {
    ("docs", "publish"): {"pages": "write", "id-token": "write"},
    ("release", "publish"): {"id-token": "write"},
}


def _steps(workflow: str, job: str) -> list[dict[str, Any]]:
    return WORKFLOWS[workflow]["jobs"][job]["steps"]


def _sessions() -> set[str]:
    """The sessions that noxfile.py defines."""
    tree = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        if any("nox.session" in ast.unparse(d) for d in node.decorator_list)
    }


def _called(workflow: str) -> set[str]:
    """The sessions that a workflow calls, where a matrix names them, too."""
    found = set()
    for name, job in WORKFLOWS[workflow]["jobs"].items():
        for step in _steps(workflow, name):
            command = step.get("run", "")
            if not command.startswith("nox -s "):
                continue
            for word in command.removeprefix("nox -s ").partition(" -")[0].split():
                found.add(word)
        matrix = job.get("strategy", {}).get("matrix", {})
        if "${{" in found:
            found -= {"${{", "}}", "matrix.versions"}
            found |= set(matrix["versions"])
    return found


def test_there_is_a_workflow_for_each_thing():
    assert WORKFLOWS.keys() == {"docs", "lint", "release", "tests", "wheels"}
    assert _called("tests") == {"examples", "lowest", "newest", "tests"}
    assert _called("docs") == {"docs", "docs-test"}
    assert _called("lint") == {"lint"}
    assert _called("wheels") == {"wheels", "vendor"}
    assert _called("release") == {"release"}


@pytest.mark.parametrize("workflow", [w for w in WORKFLOWS if w != "docs"])
def test_what_is_called_is_a_session(workflow):
    assert _called(workflow) <= _sessions()


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_a_workflow_runs_sessions_and_nothing_else(workflow, job):
    for step in _steps(workflow, job):
        run = step.get("run")
        assert run is None or run.startswith("nox -s ") or run == INSTALL
        # What a stranger may have chosen, as the name of a branch, is no shell's text.
        assert run is None or set(re.findall(r"\$\{\{ *([\w.]+)", run)) <= {
            "matrix.python",
            "matrix.versions",
        }


INSTALL = "python -m pip install nox uv"


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_rights_are_the_least(workflow, job):
    assert WORKFLOWS[workflow]["permissions"] == {"contents": "read"}
    found = WORKFLOWS[workflow]["jobs"][job].get("permissions", {})
    assert found == RIGHTS.get((workflow, job), {})


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_a_job_with_rights_runs_nothing_of_the_repository(workflow, job):
    if (workflow, job) in RIGHTS:
        uses = [step["uses"].partition("@")[0] for step in _steps(workflow, job)]
        assert "actions/checkout" not in uses
        assert not any("run" in step for step in _steps(workflow, job))


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_a_checkout_leaves_no_credentials_behind(workflow, job):
    for step in _steps(workflow, job):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_actions_are_pinned_by_commit_and_their_versions_told(workflow):
    text = (GITHUB / "workflows" / f"{workflow}.yml").read_text("utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)


def test_an_action_is_of_one_commit_everywhere():
    text = "".join(p.read_text("utf-8") for p in (GITHUB / "workflows").glob("*.yml"))
    pins = set(re.findall(r"uses: (\S+)@(\S+)", text))
    assert len(pins) == len({action for action, _ in pins})


def test_the_matrix_is_every_python_with_the_lowest_and_the_newest():
    matrix = WORKFLOWS["tests"]["jobs"]["alone"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "packages/core/pyproject.toml").read_text("utf-8"))
    pythons = [
        text.rpartition(" ")[2]
        for text in project["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", text)
    ]
    assert matrix["python"] == pythons
    assert (
        WORKFLOWS["tests"]["jobs"]["whole"]["strategy"]["matrix"]["python"] == pythons
    )
    assert matrix["versions"] == ["lowest", "newest"]
    systems = {system.partition("-")[0] for system in matrix["os"]}
    assert systems == {"ubuntu", "macos", "windows"}


def test_a_release_is_published_from_its_tag_with_attestations():
    workflow = WORKFLOWS["release"]
    # YAML takes the key `on` for true.
    assert workflow[True] == {"push": {"tags": ["batiste*-v*"]}}
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == "build"
    assert publish["environment"]["name"] == "pypi"
    last = publish["steps"][-1]
    assert last["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert last["with"]["attestations"] is True
    assert "password" not in last["with"]


def test_pre_commit_runs_what_lint_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == commands()
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in hooks)
    assert {repo["repo"] for repo in config["repos"]} == {"local"}


def test_lint_looks_at_every_file_that_github_reads():
    looked_at = {word for command in commands() for word in command.split()}
    files = [
        *GITHUB.glob("*.yml"),
        *GITHUB.glob("*/*.yml"),
    ]
    assert len(files) >= 8
    assert {path.relative_to(ROOT).as_posix() for path in files} <= looked_at


def test_the_issue_form_asks_for_what_the_command_prints():
    text = (GITHUB / "ISSUE_TEMPLATE" / "fault.yml").read_text("utf-8")
    assert "python -m batiste" in text


def test_the_citation_is_of_the_whole():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    text = (ROOT / "packages" / "batiste" / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]


@pytest.mark.parametrize("package", sorted(p.name for p in ROOT.glob("packages/*")))
def test_a_package_tells_an_index_what_it_is(package):
    text = (ROOT / "packages" / package / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)["project"]
    assert project["keywords"]
    classifiers = project["classifiers"]
    assert "Typing :: Typed" in classifiers
    assert "Programming Language :: Python :: 3.13" in classifiers
    assert any(each.startswith("Topic ::") for each in classifiers)

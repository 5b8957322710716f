"""Each example has its files, its place in the lists, and what its README promises."""

import ast
import importlib
import re
import sys
from pathlib import Path

import ml_collections
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGES = ROOT / "docs" / "examples"

FOLDERS = sorted(p.parent.name for p in EXAMPLES.glob("*/requirements.txt"))
# Single files, without a framework to train them.
SINGLE_FILES = ["design_patterns"]
TRAINED = [name for name in FOLDERS if name not in SINGLE_FILES]
# They came before, and are tested in tests/.
EARLIER = ["quickstart", "spmd_transformer"]

FILES = [
    "README.md",
    "configs/default.py",
    "configs/small.py",
    "input_pipeline.py",
    "input_pipeline_test.py",
    "main.py",
    "models.py",
    "models_test.py",
    "notebook_test.py",
    "train.py",
    "train_test.py",
]
COMMAND = "python main.py --config=configs/{}.py --workdir="
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users)/")


def _text(name: str, file: str) -> str:
    return (EXAMPLES / name / file).read_text("utf-8")


def _programs(name: str) -> list[Path]:
    return sorted((EXAMPLES / name).rglob("*.py"))


@pytest.fixture
def config(monkeypatch):
    """Loads a configuration as `main.py` does, where its folder is importable."""

    def load(name: str, which: str) -> ml_collections.ConfigDict:
        folder = EXAMPLES / name
        monkeypatch.syspath_prepend(str(folder))
        for module in [m for m in sys.modules if m.partition(".")[0] == "configs"]:
            monkeypatch.delitem(sys.modules, module)
        module = importlib.import_module(f"configs.{which}")
        assert Path(module.__file__ or "").is_relative_to(folder)
        return module.get_config()

    yield load
    for module in [m for m in sys.modules if m.partition(".")[0] == "configs"]:
        del sys.modules[module]


def test_every_folder_is_an_example():
    folders = [p.name for p in EXAMPLES.iterdir() if any(p.glob("*.py"))]
    assert sorted(folders) == sorted([*FOLDERS, *EARLIER])
    assert {"mnist", "vae", "design_patterns"} <= {*FOLDERS}


@pytest.mark.parametrize("name", TRAINED)
def test_an_example_has_its_files(name):
    wanted = [*FILES, f"{name}.ipynb"]
    assert not [f for f in wanted if not (EXAMPLES / name / f).is_file()]


@pytest.mark.parametrize("name", SINGLE_FILES)
def test_a_single_file_has_its_test_and_runs(name):
    files = [p for p in _programs(name) if not p.stem.endswith("_test")]
    assert len(files) >= 7
    for path in files:
        assert path.with_name(f"{path.stem}_test.py").is_file()
        assert 'if __name__ == "__main__":' in path.read_text("utf-8")


@pytest.mark.parametrize("name", FOLDERS)
def test_requirements_are_pinned(name):
    lines = [
        line.partition("#")[0].strip()
        for line in _text(name, "requirements.txt").splitlines()
    ]
    ours, *others = [line for line in lines if line]
    # What is of this repository has no version there yet; it is installed with it.
    assert re.fullmatch(r"batiste(\[[a-z,]+\])?", ours)
    assert not [
        line
        for line in others
        if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+(\s*;.*)?", line)
    ]
    assert {"jax", "numpy", "pytest"} <= {line.partition("==")[0] for line in others}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_imported_is_required(name):
    """Every import is of the folder, of Python, of Batiste, or named."""
    folder = EXAMPLES / name
    own = {path.stem for path in folder.iterdir()}
    named = _text(name, "requirements.txt").lower().replace("-", "_")
    elsewhere = {
        "absl": "absl_py",
        "orbax": "orbax_checkpoint",
        "sklearn": "scikit_learn",
        "PIL": "pillow",
    }
    missing = set()
    for path in _programs(name):
        tree = ast.parse(path.read_text("utf-8"))
        # At the top of a file; what is imported within a function may be optional.
        for node in tree.body:
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                top = module.partition(".")[0]
                if top in own or top in sys.stdlib_module_names:
                    continue
                if elsewhere.get(top, top).lower() not in named:
                    missing.add(top)
    assert not missing


@pytest.mark.parametrize("name", TRAINED)
def test_the_readme_has_both_commands(name):
    text = _text(name, "README.md")
    for config in ("small", "default"):
        assert COMMAND.format(config) in text
    assert re.search(r"!\[[^]]{10,}\]\(\w+\.(png|gif)\)", text)
    assert re.search(r"https?://|paper", text)
    assert re.search(r"licen[cs]e", text.lower())


@pytest.mark.parametrize("name", FOLDERS)
def test_no_text_has_a_path_of_some_machine(name):
    kinds = {".ipynb", ".md", ".py", ".txt"}
    files = [p for p in (EXAMPLES / name).rglob("*") if p.suffix in kinds]
    assert len(files) > 3
    assert not [p for p in files if MACHINE_PATH.search(p.read_text("utf-8"))]


@pytest.mark.parametrize("name", TRAINED)
def test_both_configurations_load(name, config):
    for which in ("default", "small"):
        found = config(name, which)
        assert isinstance(found, ml_collections.ConfigDict)
        assert "seed" in found


@pytest.mark.parametrize("name", TRAINED)
def test_the_notebook_is_valid_and_has_no_outputs(name):
    notebook = nbformat.read(
        EXAMPLES / name / f"{name}.ipynb", as_version=nbformat.NO_CONVERT
    )
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    for cell in cells:
        assert not cell.outputs
        assert cell.execution_count is None
        compile(cell.source, f"{name}.ipynb", "exec")
    # It runs the small configuration.
    assert re.search(r"\bsmall\b", "\n".join(cell.source for cell in cells))


@pytest.mark.parametrize("name", [*FOLDERS, *EARLIER])
def test_the_lists_have_it(name):
    rows = re.findall(
        r"^\| \[[^]]+\]\((\w+)/?\) \|",
        (EXAMPLES / "README.md").read_text("utf-8"),
        re.M,
    )
    assert rows.count(name) == 1
    index = (PAGES / "index.md").read_text("utf-8")
    assert re.search(rf"^{name}$", index, re.M)
    assert f"]({name}.md)" in index
    page = (PAGES / f"{name}.md").read_text("utf-8")
    assert re.search(r"^# \w", page, re.M)
    assert f"examples/{name}" in page


def test_the_table_has_nothing_else():
    rows = re.findall(
        r"^\| \[[^]]+\]\((\w+)/?\) \|.*",
        (EXAMPLES / "README.md").read_text("utf-8"),
        re.M,
    )
    assert sorted(rows) == sorted([*FOLDERS, *EARLIER])


@pytest.mark.parametrize("name", FOLDERS)
def test_pictures_are_small(name):
    pictures = [
        p for ext in ("png", "gif") for p in (EXAMPLES / name).rglob(f"*.{ext}")
    ]
    limits = {".png": 150_000, ".gif": 1_500_000}
    assert not [p for p in pictures if p.stat().st_size > limits[p.suffix]]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_can_be_read_whole(name):
    long = [p for p in _programs(name) if len(p.read_text("utf-8").splitlines()) > 400]
    assert not long

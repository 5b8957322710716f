"""The notebook runs from its first cell to its last, and what it trains has learnt."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(folder, *values):
    """Runs the notebook; returns what these expressions are at its end."""
    notebook = nbformat.read(HERE / "vae.ipynb", as_version=4)
    text = f"import json\njson.dumps([float(x) for x in [{', '.join(values)}]])"
    notebook.cells.append(nbformat.v4.new_code_cell(text))
    # Compiled as it is for everyone, and with what it writes in a folder of the test.
    environment = {**os.environ, "XLA_FLAGS": "", "TMPDIR": str(folder)}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(HERE)}})
    client.execute(env=environment)
    (output,) = notebook.cells[-1].outputs
    return json.loads(output.data["text/plain"].strip("'"))


def test_it_runs_and_knows_more_than_pixels(tmp_path):
    found, elbo, baseline = run(
        tmp_path, "result.importance_weighted", "result.elbo", "result.baseline"
    )
    assert found > elbo > baseline + 1

"""The notebook of a generated project: it runs, and has the same cells in both languages."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from conftest import PROJECT_FOLDER, Bake
from nbclient import NotebookClient
from template_copy import REPO

NOTEBOOKS = REPO / PROJECT_FOLDER / "notebooks"
MAIN_PY = [
    "%run {project}/main.py predict 5.1 3.5 1.4 0.2",
    "%run {project}/main.py predict 5.1",
    "%run {project}/main.py run data-engineer --param seed=9",
    "Path.cwd() == here",
    "from flows.data_engineer import data_engineer",
    "data_engineer(raw_path='nothing.csv')",
]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of whoever runs the tests decide which Prefect server is used."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run a notebook with a kernel that starts in a folder; an error is output of its cell."""
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, allow_errors=True, resources=resources).execute()


def shown(cell: nbformat.NotebookNode) -> str:
    """Return as text what stands below a cell, errors included."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "error":
            texts.append("\n".join([*output.traceback, output.evalue]))
        texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "".join(texts)


def test_both_languages_have_the_same_cells_without_outputs() -> None:
    one, other = (
        nbformat.read(NOTEBOOKS / name, as_version=4)
        for name in ("explore.ipynb", "explore.pt-BR.ipynb")
    )
    nbformat.validate(one)
    nbformat.validate(other)
    assert [cell.id for cell in one.cells] == [cell.id for cell in other.cells]
    for cell, translated in zip(one.cells, other.cells, strict=True):
        assert cell.cell_type == translated.cell_type
        if cell.cell_type == "code":
            assert cell == translated
            assert not cell.outputs
        else:
            assert cell.source != translated.source


@pytest.mark.slow
def test_the_notebook_runs_and_so_does_main_py_in_it(bake: Bake) -> None:
    project = bake().path
    notebook = nbformat.read(project / "notebooks" / "explore.ipynb", as_version=4)
    as_delivered = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    added = [nbformat.v4.new_code_cell(source) for source in MAIN_PY]
    notebook.cells += added
    run(notebook, project / "notebooks")  # as Jupyter does

    assert not [cell.id for cell in as_delivered.values() if "Traceback" in shown(cell)]
    assert "Model accuracy on test set: " in shown(as_delivered["run"])
    assert shown(as_delivered["run"]).count("\n") < 5
    assert "sepal_length" in shown(as_delivered["read"])
    assert [output for output in as_delivered["matrix"].outputs if "image/png" in output.data]
    assert "metrics.accuracy" in shown(as_delivered["table"])
    assert (project / ".prefect" / "prefect.db").is_file()
    assert not (project / "notebooks" / ".prefect").exists()

    predicted, refused, ran, folder, _, failed = map(shown, added)
    assert "setosa (probability 0." in predicted
    assert "Error: The model needs 4 values: " in refused
    assert "Traceback" not in refused
    assert "Checkpoints  data/processed/" in ran
    assert "Dashboard    python main.py ui" in ran
    assert folder == "True"
    assert "there is no such file: check its path" in failed
    assert failed.count("\n") < 25

"""Flows and tasks that Python calls without main.py: in a script, a notebook, IDLE."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import prefect
import pytest
from conftest import facts, outputs
from flows.data_engineer import data_engineer
from ml.data import BadData
from prefect.exceptions import ParameterTypeError

Python = Callable[..., "subprocess.CompletedProcess[str]"]

START = "import sys; sys.path.insert(0, {project!r})\n"
CALLS = """
from flows.data_engineer import data_engineer, load_data
from prefect import flow
print(len(load_data("data/raw/iris.csv")))
print(data_engineer(seed=7))

@flow
def mine():
    return {}["no such key"]

mine()
"""
IDLE = """
import io, runpy

class Output(io.TextIOBase):  # as IDLE's: without `reconfigure`, and no file
    def write(self, text):
        return sys.__stdout__.write(text)

sys.modules["idlelib.run"] = sys
sys.stdout, sys.stderr, sys.argv = Output(), None, ["main.py", "run", "data-engineer"]
try:
    runpy.run_path({project!r} + "/main.py", run_name="__main__")
except SystemExit as ended:
    print("ended with", ended.code)
"""


@pytest.fixture
def python(project: Path, tmp_path: Path) -> Python:
    """Runs Python code in a folder that is not the project's, with a home folder of its own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()

    def run(code: str) -> "subprocess.CompletedProcess[str]":
        plain = {name: os.environ[name] for name in os.environ if not name.startswith("PREFECT_")}
        home = str(tmp_path / "home")
        return subprocess.run(
            [sys.executable, "-c", START.format(project=str(project)) + code],
            cwd=tmp_path / "elsewhere",
            env={**plain, "HOME": home, "USERPROFILE": home, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


@pytest.mark.slow
def test_a_call_in_another_folder_is_as_one_in_the_project(
    python: Python, project: Path, tmp_path: Path
) -> None:
    called = python(CALLS)
    rows, run = called.stdout.split()
    assert rows == "150"
    assert facts(project, run)["state"] == "Completed"
    assert facts(project, run)["results"].keys() == {"get_classes", "split_data"}
    assert (project / ".prefect" / "prefect.db").is_file()
    assert not [*(tmp_path / "home").iterdir(), *(tmp_path / "elsewhere").iterdir()]

    for noise in ("Beginning", "Completed()", "View at", "Warning", str(Path(prefect.__file__))):
        assert noise not in called.stderr
    assert called.returncode == 1
    assert called.stderr.endswith("KeyError: 'no such key'\n")
    assert called.stderr.count("  File ") == 3  # the call, ours, the error

    again = python("import prefect\nfrom flows.data_engineer import data_engineer\ndata_engineer()")
    assert again.returncode == 0
    assert again.stderr.count("\n") == 1
    assert "Task run 'encode_categorical_columns-" in again.stderr
    assert "Cached" in again.stderr


@pytest.mark.slow
def test_f5_in_idle_runs_main_py_and_shows_the_result(python: Python, project: Path) -> None:
    ran = python(IDLE.replace("{project!r}", repr(str(project))))
    assert ran.returncode == 0, ran.stderr
    assert "\nCheckpoints  data/processed/" in ran.stdout
    assert ran.stdout.endswith("ended with 0\n")


@pytest.mark.parametrize(
    ("parameters", "error", "sentence"),
    [
        ({"raw_path": "data/raw/nothing.csv"}, BadData, "there is no such file: check its path"),
        ({"seed": -1}, ParameterTypeError, "seed: Input should be greater than or equal to 0"),
    ],
)
def test_an_error_of_the_callers_is_a_sentence_without_prefects_calls(
    prefect_server: object,
    project: Path,
    parameters: dict[str, object],
    error: type[Exception],
    sentence: str,
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        data_engineer(**parameters)  # type: ignore[call-overload]
    lines = "".join(traceback.format_exception(raised.value))
    assert lines.count("  File ") == 2, lines  # the call, and ours
    assert str(Path(prefect.__file__).parent) not in lines
    assert not outputs(project)

"""`new-flow`: a flow that runs at once and is found by all commands, or one sentence."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PROJECT, Answer

Command = Callable[..., Answer]


def files(project: Path) -> set[Path]:
    return {path for path in project.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.slow
def test_a_new_flow_runs_at_once_and_has_a_test(project: Path, command: Command) -> None:
    answer = command("new-flow", "clean-data")
    assert answer == Answer(0, "flows/clean_data.py\ntests/test_clean_data.py\n", "")
    (project / "tests" / "conftest.py").write_text(
        (PROJECT / "tests" / "conftest.py").read_text("utf-8"), "utf-8"
    )
    environment = {name: os.environ[name] for name in os.environ if "PREFECT" not in name}

    def run(*arguments: str) -> str:
        finished = subprocess.run(
            [sys.executable, *arguments],
            cwd=project,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    assert "Twice 4 is 8" in run("main.py", "run", "clean-data", "--param", "number=4")
    assert "double-0" in run("main.py", "visualize", "clean-data")
    assert "2 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    for tool in (["ruff", "check"], ["ruff", "format", "--check"]):
        run("-m", *tool, "flows", "tests")


@pytest.mark.parametrize("name", ["a", "z9", "x" * 36, "e_mail-2", "zoo"])
def test_the_two_files_are_clean_whatever_the_name(
    project: Path, command: Command, name: str
) -> None:
    written = command("new-flow", name).out.split()
    for tool in (["check"], ["format", "--check"]):
        finished = subprocess.run(
            [sys.executable, "-m", "ruff", *tool, *written],
            cwd=project,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        *((name, "is not allowed as the name of a flow: ") for name in (
            "", "Clean", "2nd", "clean data", "../evil", "a/b", "a.b", "análise", "a--b", "a-",
            "_a", "class", "con", "com1", "x" * 37, "a\n", "flows\\\\a",
        )),
        *((name, "is taken: choose another one.") for name in (
            "main-flow", "main_flow", "data-engineer", "tune", "double", "flow", "task",
        )),
        ("parameters", "flows/parameters.py exists: choose another name."),
        ("there", "tests/test_there.py exists: choose another name."),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_used_is_one_sentence_and_writes_nothing(
    project: Path, command: Command, name: str, problem: str
) -> None:
    (project / "tests").mkdir()
    (project / "tests" / "test_there.py").write_text("mine", "utf-8")
    before = files(project)
    answer = command("new-flow", name)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err.startswith("Error: ") and problem in answer.err
    assert answer.err.count("\n") == 1
    assert files(project) == before

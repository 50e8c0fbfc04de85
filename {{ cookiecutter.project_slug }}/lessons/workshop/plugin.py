"""The checks' pytest plugin: the student's file as `exercise`, sentences instead of tracebacks."""

import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from lessons.workshop.catalogue import Lesson, chosen_language
from runtime.server import wait_until_ready
from runtime.settings import ROOT

# The workshop's own process has a server; `pytest lessons/01_tasks` starts one.
SERVER = None
if "LESSONS_JUDGE" not in os.environ:
    from lessons.workshop.server import start_server

    SERVER = start_server()

COPIED = ("data/raw", "prefect.toml", "params.json", "pyproject.toml")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option for a file to check in place of exercise.py."""
    parser.addoption("--exercise", type=Path, help="file to check in the place of exercise.py")


@pytest.fixture(scope="session", autouse=True)
def server() -> None:
    """Wait until the server answers."""
    if SERVER:
        wait_until_ready(SERVER)


@pytest.fixture
def exercise(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The student's file, loaded in a fresh copy of the project: a `workshop.exercise.Exercise`."""
    from lessons.workshop.exercise import Exercise, Finding
    from runtime import direct, settings

    lesson = request.path.parent
    given = request.config.getoption("exercise") or lesson / "exercise.py"
    if not given.exists():
        raise Finding("no_file")
    root = tmp_path / "project"
    for name in (*COPIED, lesson.relative_to(ROOT)):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    file = root / lesson.relative_to(ROOT) / "exercise.py"
    shutil.copy(given, file)
    monkeypatch.chdir(root)
    monkeypatch.setattr(settings, "ROOT", root)  # outputs stay in the copy
    # Errors arrive as Prefect raises them: the check turns them into sentences, as in every lesson.
    monkeypatch.setattr(direct, "main_py_runs_here", lambda: True)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "argv", [str(file)])
    # An environment variable, because `temporary_settings` takes a third of a second.
    shutil.rmtree(os.environ["PREFECT_LOCAL_STORAGE_PATH"], ignore_errors=True)
    return Exercise(file, root)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a finding as a sentence; the report also keeps its key and its values."""
    from lessons.workshop.exercise import Finding

    report = yield
    if call.excinfo is None:
        return report
    error = call.excinfo.value
    if isinstance(error, Finding):
        key, values = error.key, error.values
        report.longrepr = Lesson(item.path.parent).sentence(key, values, chosen_language())
    else:  # the check itself failed: its author gets the traceback
        key, values = "check_failed", {"error": f"{type(error).__name__}: {error}"}
    vars(report)["finding"] = {"key": key, "values": values}
    return report

"""One Prefect server for all tests, and for each test a project of its own in a temporary folder.

The tests attack the machinery of the template's folder as it stands, and run its flows in this
process. Run a row of the article's map alone with, for example, `pytest -k row_08`.
"""

import atexit
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

PROJECT = Path(__file__).resolve().parents[2] / "{{ cookiecutter.project_slug }}"
sys.path.insert(0, str(PROJECT))

from ml.report import Report, make_report  # noqa: E402  (they lie in the template's folder)
from runtime import server, settings  # noqa: E402

# Prefect reads its settings when it is imported: so they are set, and the server is started,
# before any test module imports it. Nothing of the user's own Prefect is touched.
HOME = tempfile.mkdtemp(prefix="prefect-home-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
for name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[name]
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_HOME"] = HOME
os.environ["PREFECT_PROFILES_PATH"] = str(Path(HOME, "profiles.toml"))
os.environ[settings.CONSOLE_HANDLER] = "runtime.console.PlainConsoleHandler"
os.environ.setdefault("MPLCONFIGDIR", str(PROJECT / ".prefect" / "matplotlib"))  # as main.py does
os.chdir(PROJECT)
# A shell lets what it runs in the background ignore Ctrl-C, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
SERVER = server.use_server()

NAME = "{{ cookiecutter.project_slug }}"  # of deployments, as prefect.yaml stands in the folder
PROJECT_FILES = ("main.py", "flows", "ml", "runtime", "data/raw", "params.json", "*.toml", "*.yaml")
PATIENCE_SECONDS = 600  # a test that waits this long fails; none waits when all is well


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what needs no server first: it takes a while to start."""
    items.sort(key=lambda item: "prefect_server" in getattr(item, "fixturenames", []))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[server.Server]:
    """The server of all tests, which answers by now."""
    server.wait_until_ready(SERVER)
    with server.settings_for(SERVER):
        yield SERVER


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project without outputs, in a path with a space and a letter beyond ASCII.

    The flows of this process work there too: all their paths are derived from `settings.ROOT`.
    """
    root = tmp_path / "Projeto São Paulo"
    for pattern in PROJECT_FILES:
        for path in PROJECT.glob(pattern):
            target = root / path.relative_to(PROJECT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, target)
    monkeypatch.setattr(settings, "ROOT", root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def command(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command of main.py in this process, which saves the seconds of its imports."""
    from runtime.cli import main  # noqa: PLC0415  (when the settings are made)

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        try:
            exit_code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            exit_code = int(ended.code or 0)
        return Answer(exit_code, *capsys.readouterr())

    return run


@pytest.fixture
def program(project: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `python main.py ...` as a person does, from a folder that is not the project's."""
    started = []

    def start(*arguments: object, **environment: str | None) -> "subprocess.Popen[str]":
        wanted = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
        process = subprocess.Popen(
            [sys.executable, str(project / "main.py"), *map(str, arguments)],
            cwd=project.parent,
            env={name: value for name, value in wanted.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def states(caplog: pytest.LogCaptureFixture) -> Callable[[], dict[str, str]]:
    """Returns the final state of each task, as the log names it, since it was last called."""
    caplog.set_level(logging.INFO)

    def read() -> dict[str, str]:
        finished = {
            vars(record)["task_name"]: record.getMessage().split()[-1].partition("(")[0]
            for record in caplog.records
            if record.name == "prefect.task_runs" and "Finished in state" in record.getMessage()
        }
        caplog.clear()
        return finished

    return read


def wait_until(condition: Callable[[], Any]) -> Any:
    """Return what `condition` returns, as soon as that is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def ends(process: "subprocess.Popen[str]") -> Answer:
    """Return what a process that `program` started has printed when it ends."""
    out, err = process.communicate()
    return Answer(process.returncode, out, err)


def outputs(project: Path) -> list[str]:
    """Return all that runs left in a project, but for the cache."""
    folders = ("data/processed", "models", "reports")
    paths = [path for folder in folders for path in (project / folder).rglob("*")]
    return sorted(path.relative_to(project).as_posix() for path in paths)


def facts(project: Path, run: str) -> dict[str, Any]:
    """Return what a run's run.json says."""
    return json.loads((project / "data" / "processed" / run / "run.json").read_text("utf-8"))


def report_on(predictions: np.ndarray, test_y: pd.Series, shares: Any = None) -> Report:
    """Return the report on predictions of a model that gives these probabilities, or none."""
    names = test_y.cat.categories if isinstance(test_y.dtype, pd.CategoricalDtype) else test_y
    model: Any = SimpleNamespace(params_={}, classes_=sorted({*names, *predictions}))
    if shares is not None:
        model.predict_proba = lambda _: shares
    split = {"test_x": test_y.to_frame(), "test_y": test_y, "data": None}
    return make_report(model, split, predictions, picture=b"", title="run")

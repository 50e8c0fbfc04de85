"""The contenders: a project folder and a command for each, all in build/bench/."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from environments import BUILD, OURS, PEERS, REPO, SCRIPTS, TEMPLATE_FOLDER, make_environment
from measure import Command, WrongError

RAW = TEMPLATE_FOLDER / "data" / "raw" / "iris.csv"
OURS_OUTPUTS = ("data/interim", "data/processed", "models", "reports")
STORES = ("home/.prefect/storage", "home/dagster/storage", "home/.metaflow", ".metaflow")
PEERS_OUTPUTS = ("data/outputs", "data/tasks", *STORES)


@dataclass(frozen=True)
class Folder:
    """A project folder of a contender, and the environment that runs it."""

    peer: str
    path: Path
    venv: Path
    outputs: tuple[str, ...]  # what a run leaves and the next one must not find

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.venv / SCRIPTS / "python"

    @property
    def env(self) -> dict[str, str]:
        """Environment variables: whatever a contender keeps stays in its folder."""
        foreign = ("PREFECT_", "DAGSTER_", "METAFLOW", "LUIGI_", "KEDRO_", "PYTHON", "MPL")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        home = self.path / "home"
        home.mkdir(exist_ok=True)
        (home / "dagster").mkdir(exist_ok=True)
        return kept | {
            "HOME": str(home),
            "USERPROFILE": str(home),
            "USERNAME": "bench",  # Metaflow asks for one
            "DAGSTER_HOME": str(home / "dagster"),
            "METAFLOW_HOME": str(home / "metaflow"),
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(home),
            # Prefect waits 20 s for a server of its own, which is little on a busy machine.
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
            "DO_NOT_TRACK": "1",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(self.path) if self.peer != OURS else "",
        }

    @property
    def raw(self) -> Path:
        """The raw data that it reads."""
        return self.path / "data" / "raw" / "iris.csv"

    def clean(self) -> None:
        """Remove what earlier runs computed."""
        for name in self.outputs:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def command(
        self,
        name: str,
        *words: str | Path,
        keep: bool = False,
        exit_code: int = 0,
        env: dict[str, str] | None = None,
    ) -> Command:
        """Return a command; its first word is a program of the environment, or Python's.

        It starts from a clean folder, unless it is to `keep` what earlier runs left.
        """
        program = self.venv / SCRIPTS / words[0]
        start = [program] if program.exists() else [self.python, words[0]]
        return Command(
            name,
            [*start, *words[1:]],
            self.path,
            self.env | (env or {}),
            prepare=lambda: None if keep else self.clean(),
            exit_code=exit_code,
        )

    def answer(self) -> dict[str, Any]:
        """Return accuracy and the means of the test set that the last run left."""
        if self.peer != OURS:
            file = self.path / "data" / "outputs" / "metrics.json"
            metrics: dict[str, Any] = json.loads(file.read_text("utf-8"))
            return metrics
        runs = sorted((self.path / "reports").iterdir())
        metrics = json.loads((runs[-1] / "metrics.json").read_text("utf-8"))
        file = self.path / "data" / "processed" / runs[-1].name / "split_data.parquet"
        test = pq.read_table(file, filters=[("set", "==", "test")]).to_pandas()
        features = test.select_dtypes("float64")
        return {"accuracy": metrics["accuracy"], "test_means": features.mean().to_dict()}

    def must_answer(self, expected: dict[str, Any]) -> None:
        """Raise `WrongError` where the last run had another accuracy or another split."""
        answer = self.answer()
        names = expected["test_means"]
        same = names.keys() == answer["test_means"].keys() and all(
            math.isclose(answer["test_means"][name], names[name], rel_tol=1e-9) for name in names
        )
        if not same:
            raise WrongError(f"another split: {answer['test_means']} instead of {names}")
        if answer["accuracy"] != expected["accuracy"]:
            raise WrongError(f"accuracy {answer['accuracy']} instead of {expected['accuracy']}")


def folder(peer: str, name: str = "project", *, environment: str = "", raw: Path = RAW) -> Folder:
    """Make a fresh project folder of a contender on `raw`, and its environment if it has none."""
    venv = make_environment(environment or peer)
    path = BUILD / peer / name
    shutil.rmtree(path, ignore_errors=True)
    if peer == OURS:
        shutil.copytree(generate(BUILD / peer / "generated"), path)
        shutil.copy(PEERS / OURS / "tasks.py", path / "tasks.py")
        made = Folder(peer, path, venv, OURS_OUTPUTS)
    else:
        shutil.copytree(PEERS / peer, path)
        shutil.copy(PEERS / "iris.py", path / "iris.py")
        made = Folder(peer, path, venv, PEERS_OUTPUTS)
    made.raw.parent.mkdir(parents=True, exist_ok=True)
    made.raw.unlink(missing_ok=True)
    try:
        made.raw.hardlink_to(raw)  # it may be large
    except OSError:
        shutil.copy(raw, made.raw)
    return made


def floor(raw: Path = RAW) -> tuple[Folder, Command]:
    """Return the plain script that imports Prefect first: no Prefect flow can be faster."""
    made = folder("plain", "floor", environment="prefect", raw=raw)
    words = "import prefect, runpy; runpy.run_path('pipeline.py', run_name='__main__')"
    return made, made.command("plain script + import prefect", "-c", words)


def in_agreement(plain: Folder, pairs: Sequence[tuple[Folder, Command]]) -> list[Command]:
    """Return the commands, each with a check that its answer is that of the plain script.

    The plain script must be the first of them, so that it has run before them in the same round.
    """
    return [
        replace(command, check=partial(_must_agree, project, plain)) for project, command in pairs
    ]


def _must_agree(project: Folder, plain: Folder) -> None:
    project.must_answer(plain.answer())


def generate(destination: Path) -> Path:
    """Return a project generated from the template into `destination`, which is emptied."""
    template = BUILD / "template"
    copy = [sys.executable, str(REPO / "tests" / "template_copy.py"), str(template)]
    subprocess.run(copy, check=True)
    shutil.rmtree(destination, ignore_errors=True)
    words = [sys.executable, "-m", "cookiecutter", str(template), "--no-input"]
    words += ["--config-file", str(cookiecutter_config()), "--output-dir", str(destination)]
    subprocess.run(words, check=True, capture_output=True)
    return destination / "iris-project"


def cookiecutter_config() -> Path:
    """Return a configuration that keeps cookiecutter out of the home folder."""
    BUILD.mkdir(parents=True, exist_ok=True)
    file = BUILD / "cookiecutter.yaml"
    replay, templates = (BUILD / "replay").as_posix(), (BUILD / "templates").as_posix()
    file.write_text(f"replay_dir: {replay}\ncookiecutters_dir: {templates}\n", encoding="utf-8")
    return file

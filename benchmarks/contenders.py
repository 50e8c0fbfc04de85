"""The contenders: an environment, a project folder and a command for each, all in build/bench/."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from measure import Command, WrongError, say

REPO = Path(__file__).resolve().parents[1]
PEERS = Path(__file__).resolve().parent / "peers"
BUILD = REPO / "build" / "bench"
TEMPLATE_FOLDER = REPO / "{{ cookiecutter.project_slug }}"
RAW = TEMPLATE_FOLDER / "data" / "raw" / "iris.csv"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
OURS = "ours"
OURS_OUTPUTS = ("data/interim", "data/processed", "models", "reports")


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

    def command(self, name: str, *words: str | Path, **options: Any) -> Command:
        """Return a command that starts from a clean folder; its first word may be a program."""
        program = self.venv / SCRIPTS / words[0]
        start = [program] if program.exists() else [self.python, words[0]]
        prepare: Callable[[], None] = options.pop("prepare", self.clean)
        env = self.env | options.pop("env", {})
        return Command(name, [*start, *words[1:]], self.path, env, prepare, **options)

    def answer(self) -> dict[str, Any]:
        """Return accuracy and the means of the test set that the last run left."""
        if self.peer != OURS:
            return json.loads((self.path / "data/outputs/metrics.json").read_text("utf-8"))
        runs = sorted((self.path / "reports").iterdir())
        metrics = json.loads((runs[-1] / "metrics.json").read_text("utf-8"))
        file = self.path / "data" / "processed" / runs[-1].name / "split_data.parquet"
        test = pq.read_table(file, filters=[("_set", "==", "test")]).to_pandas()
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


def folder(peer: str, name: str = "project", *, environment: str = "") -> Folder:
    """Make a fresh project folder of a contender, and its environment where there is none."""
    venv = make_environment(environment or peer)
    path = BUILD / peer / name
    shutil.rmtree(path, ignore_errors=True)
    if peer == OURS:
        generated = generate(BUILD / peer / "generated")
        shutil.copytree(generated, path)
        shutil.copy(PEERS / OURS / "tasks.py", path / "tasks.py")
        return Folder(peer, path, venv, OURS_OUTPUTS)
    shutil.copytree(PEERS / peer, path)
    shutil.copy(PEERS / "iris.py", path / "iris.py")
    (path / "data" / "raw").mkdir(parents=True)
    shutil.copy(RAW, path / "data" / "raw" / "iris.csv")
    stores = ("home/.prefect/storage", "home/dagster/storage", "home/.metaflow", ".metaflow")
    return Folder(peer, path, venv, ("data/outputs", "data/tasks", *stores))


def plain_folder(raw: Path = RAW, **options: Any) -> tuple[Folder, dict[str, Any]]:
    """Return the plain script's folder on `raw`, and its answer, which is everybody's."""
    plain = folder("plain", **options)
    use_raw(plain, raw)
    command = plain.command("plain", "pipeline.py")
    subprocess.run([*map(str, command.argv)], cwd=plain.path, env=command.env, check=True)
    return plain, plain.answer()


def use_raw(project: Folder, raw: Path) -> None:
    """Let a project read another raw file; linked, where it can be, for its size."""
    project.raw.unlink()
    try:
        project.raw.hardlink_to(raw)
    except OSError:
        shutil.copy(raw, project.raw)


def change_a_byte(project: Folder) -> None:
    """Change one digit of the raw file, in a copy of its own."""
    content = bytearray(project.raw.read_bytes())
    place = content.index(b"\n") + 1  # the first digit of the first row
    content[place] = ord("4") if content[place] == ord("5") else ord("5")
    project.raw.unlink()
    project.raw.write_bytes(content)


def checked(command: Command, project: Folder, expected: dict[str, Any]) -> Command:
    """Return the command with a check that its answer is the expected one."""
    return replace(command, check=lambda: project.must_answer(expected))


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


def requirements(peer: str) -> Path:
    """Return the file with the exact versions of a contender."""
    return (TEMPLATE_FOLDER if peer == OURS else PEERS / peer) / "requirements.txt"


def make_environment(peer: str) -> Path:
    """Return the environment of a contender; made where its requirements are new."""
    venv, file = BUILD / peer / "venv", requirements(peer)
    stamp = venv / "requirements.sha256"
    mark = hashlib.sha256(file.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == mark:
        return venv
    say(f"Making the environment of {peer} ...")
    uv = Path(sys.executable).with_name("uv")
    program = str(uv) if uv.exists() else shutil.which("uv")
    if program is None:
        raise SystemExit("uv is needed, in this environment or on the PATH.")
    subprocess.run([program, "venv", "-q", "--clear", "-p", sys.executable, str(venv)], check=True)
    install = [program, "pip", "install", "-q", "--compile-bytecode"]
    subprocess.run(
        [*install, "--python", str(venv / SCRIPTS / "python"), "-r", str(file)], check=True
    )
    stamp.write_text(mark, encoding="utf-8")
    return venv


def version(peer: str, package: str) -> str:
    """Return the version of a package that a contender's requirements name."""
    for line in requirements(peer).read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line.split("==")[1].split(";")[0].strip()
    raise WrongError(f"{requirements(peer)} names no {package}")


def same_libraries(peers: list[str]) -> None:
    """Raise `WrongError` where a peer computes with other versions than our project."""
    for peer in peers:
        for package in ("pandas", "pyarrow", "scikit-learn", "skops", "matplotlib"):
            if version(peer, package) != version(OURS, package):
                raise WrongError(f"{package} of {peer} is not that of our project: compile anew")


def write_data(rows: int) -> Path:
    """Return a CSV file of Iris repeated with noise, made once; 150 rows are Iris itself."""
    if rows == 150:
        return RAW
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    file = BUILD / "data" / f"{rows}.csv"
    if file.exists():
        return file
    say(f"Writing {rows} rows ...")
    iris = pd.read_csv(RAW)
    random = np.random.default_rng(42)
    columns: dict[str, Any] = {}
    for name in iris.columns[:4]:
        repeated = np.tile(iris[name].to_numpy(), rows // 150)
        columns[name] = (repeated + random.normal(0, 0.1, rows)).clip(0.1).round(1)
    columns["species"] = pa.array(np.tile(iris["species"].astype("category").cat.codes, rows // 150))
    names = pa.array(sorted(iris["species"].unique()))
    columns["species"] = names.take(columns["species"])
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    csv.write_csv(pa.table(columns), aside, csv.WriteOptions(quoting_style="none"))
    aside.rename(file)
    return file

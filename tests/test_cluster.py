"""The flows on a cluster: a scheduler and two workers, each a process of its own, by address."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clusters import dask, ray
from conftest import Bake, BakedProject, Run
from measure import free_port
from stores import Store, s3_store

SEARCH = ("tune", "--param", "candidates=4", "--param", "folds=3")


@contextmanager
def no_cluster(project: Path, logs: Path) -> Iterator[str]:
    """Yield the engine that starts its own processes."""
    yield "processes"


@pytest.fixture(scope="module")
def on_threads(
    run: Run, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BakedProject, dict[str, Any]]:
    """Return a project, and what main-flow and tune left in it with the engine `threads`."""
    folder = tmp_path_factory.mktemp("cluster")
    run("cookiecutter", template, "--no-input", cwd=folder)
    project = BakedProject(folder / "iris-project")
    return project, outputs(run, project, "threads")


def outputs(
    run: Run,
    project: BakedProject,
    engine: str,
    files: Callable[[str], dict[str, bytes]] | None = None,
    **settings: str,
) -> dict[str, Any]:
    """Run main-flow, and tune on its split; return the checksums and figures that they left.

    `files` returns the files of a folder by name; without it they are those of the project.
    """
    shutil.rmtree(project.path / "data" / "interim", ignore_errors=True)  # all is computed anew
    settings["ENGINE"] = engine
    left: dict[str, Any] = {}

    def local(folder: str) -> dict[str, bytes]:
        found = (project.path / folder).iterdir()
        return {path.name: path.read_bytes() for path in found if path.is_file()}

    files = files or local
    for flow in (("main-flow",), SEARCH):
        answer = run(sys.executable, "main.py", "run", *flow, cwd=project.path, **settings)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "Traceback" not in answer.stdout + answer.stderr
        name = answer.stdout.partition("reports/")[2].partition("/")[0]
        facts = json.loads(files(f"data/processed/{name}")["run.json"])
        assert facts["state"] == "Completed"
        left[flow[0]] = {task: result["sha256"] for task, result in facts["results"].items()}
        for file, content in files(f"reports/{name}").items():
            if file != "report.html":  # it has the name of the run in it
                left[f"{flow[0]} {file}"] = content
    assert {Path(name).suffix for name in files("data/interim")} >= {".json"}
    return left


@pytest.mark.parametrize("cluster", [no_cluster, dask, ray], ids=["processes", "dask", "ray"])
def test_the_flows_leave_the_same_bytes_on_each_engine(
    cluster: Callable[..., Any],
    on_threads: tuple[BakedProject, dict[str, Any]],
    run: Run,
    tmp_path: Path,
) -> None:
    if cluster is ray:
        pytest.importorskip("prefect_ray", reason="Ray is not made for this Python or system yet")
        if " " in sys.prefix:
            pytest.skip("Ray (LD_PRELOAD) takes no environment with a space in its path")
    project, wanted = on_threads
    with cluster(project.path, tmp_path) as engine:
        assert outputs(run, project, engine) == wanted
        for worker in (1, 2) if cluster is dask else ():  # Ray keeps the log of its workers itself
            assert "Task run 'evaluate" in (tmp_path / f"{worker}.log").read_text("utf-8")
    assert list(wanted["main-flow"]) == ["get_classes", "split_data", "train_model"]


@pytest.fixture(scope="module")
def in_bucket() -> Iterator[tuple[Store, dict[str, str]]]:
    """Yield a store, and the settings of a project whose outputs go there."""
    with s3_store() as store:
        yield store, {**store.environment, "OUTPUTS": "s3://lab/iris"}


def test_workers_of_a_cluster_leave_the_same_bytes_in_a_bucket(
    on_threads: tuple[BakedProject, dict[str, Any]],
    in_bucket: tuple[Store, dict[str, str]],
    run: Run,
    tmp_path: Path,
) -> None:
    (project, wanted), (store, settings) = on_threads, in_bucket
    before = local_outputs(project)
    with dask(project.path, tmp_path, environment=settings) as engine:
        left = outputs(run, project, engine, lambda at: store.objects(f"iris/{at}"), **settings)
    assert left == wanted
    assert local_outputs(project) == before


def local_outputs(project: BakedProject) -> set[Path]:
    """Return the files that runs left in the project itself."""
    folders = ("data/processed", "models", "reports")
    return {path for folder in folders for path in (project.path / folder).rglob("*")}


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_workers_that_write_elsewhere_are_named(
    place: str, run: Run, bake: Bake, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    project = bake()
    settings, of_workers, asked = {}, bake(), "share this project's folder?"
    if place == "bucket":
        _, settings = request.getfixturevalue("in_bucket")
        settings = {**settings, "OUTPUTS": "s3://lab/elsewhere"}
        of_workers, asked = project, "have the same OUTPUTS?"
    with dask(of_workers.path, tmp_path, workers=1) as engine:
        answer = run(sys.executable, "main.py", cwd=project.path, ENGINE=engine, **settings)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stdout + answer.stderr
    *_, said = answer.stderr.splitlines()
    assert re.fullmatch(
        r"Error: \S*data/interim/encode_categorical_columns-[0-9a-f]+\.parquet was not written: do "
        f"all workers of the cluster {re.escape(asked)}",
        said,
    )


def test_a_wrong_address_is_said_in_one_sentence(run: Run, bake: Bake) -> None:
    project = bake()
    engine = f"tcp://127.0.0.1:{free_port()}"
    answer = run(sys.executable, "main.py", cwd=project.path, ENGINE=engine)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"Error: ENGINE={engine}: no cluster answers there (")
    assert answer.stdout + answer.stderr == answer.stderr.splitlines()[0] + "\n"
    assert not (project.path / "data" / "processed").exists()

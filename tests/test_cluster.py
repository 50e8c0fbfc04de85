"""`tune` on a cluster: a scheduler and two workers, each a process of its own, by address."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clusters import dask, ray
from conftest import Bake, BakedProject, Run
from cookiecutter.main import cookiecutter
from measure import free_port
from stores import Store, s3_store

pytestmark = pytest.mark.slow

TUNE = ("run", "tune", "--param", "candidates=4", "--param", "folds=3")
SAME = ("search.json", "search.png", "metrics.json", "confusion_matrix.png")  # whatever the run


@contextmanager
def no_cluster(project: Path, logs: Path) -> Iterator[str]:
    """Yield the engine that starts its own processes."""
    yield "processes"


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """Return the default project."""
    folder = str(tmp_path_factory.mktemp("cluster"))
    return BakedProject(Path(cookiecutter(str(template), no_input=True, output_dir=folder)))


@pytest.fixture(scope="module")
def on_threads(project: BakedProject, run: Run) -> dict[str, bytes]:
    """Return the files of the report of `tune` with the engine `threads`."""
    answer = run(sys.executable, "main.py", "run", "data-engineer", cwd=project.path)
    assert answer.returncode == 0, answer.stderr
    return tune(run, project, "threads")


def tune(run: Run, project: BakedProject, engine: str) -> dict[str, bytes]:
    """Run `tune` on an engine; return the files of its report that are the same each time."""
    shutil.rmtree(project.path / "data" / "interim")  # else the candidates are cached
    answer = run(sys.executable, "main.py", *TUNE, cwd=project.path, ENGINE=engine)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    name = answer.stdout.partition("reports/")[2].partition("/")[0]
    return {file: (project.path / "reports" / name / file).read_bytes() for file in SAME}


@pytest.mark.parametrize("cluster", [no_cluster, dask, ray], ids=["processes", "dask", "ray"])
def test_tune_finds_the_same_on_each_engine(
    cluster: Callable[..., Any],
    project: BakedProject,
    on_threads: dict[str, bytes],
    run: Run,
    tmp_path: Path,
) -> None:
    if cluster is ray:
        pytest.importorskip("prefect_ray", reason="Ray is not made for this Python or system yet")
        if " " in sys.prefix:
            pytest.skip("Ray (LD_PRELOAD) takes no environment with a space in its path")
    with cluster(project.path, tmp_path) as engine:
        assert tune(run, project, engine) == on_threads
        for worker in (1, 2) if cluster is dask else ():  # Ray keeps the log of its workers itself
            assert "Task run 'evaluate" in (tmp_path / f"{worker}.log").read_text("utf-8")


@pytest.fixture(scope="module")
def in_bucket() -> Iterator[tuple[Store, dict[str, str]]]:
    """Yield a store, and the environment of a project whose outputs go there."""
    with s3_store() as store:
        yield store, {**store.environment, "OUTPUTS": "s3://lab/iris"}


def test_workers_of_a_cluster_read_and_write_in_a_bucket(
    on_threads: dict[str, bytes],
    in_bucket: tuple[Store, dict[str, str]],
    bake: Bake,
    run: Run,
    tmp_path: Path,
) -> None:
    project, (store, settings) = bake(), in_bucket
    with dask(project.path, tmp_path, environment=settings) as engine:
        for command in (("run", "data-engineer"), TUNE):
            settings = {**settings, "ENGINE": engine}
            answer = run(sys.executable, "main.py", *command, cwd=project.path, **settings)
            assert answer.returncode == 0, answer.stdout + answer.stderr
    files = {name.partition("/")[2]: file for name, file in store.objects("iris/reports").items()}
    assert {name: files[name] for name in SAME} == on_threads
    assert sum(name.startswith("evaluate-") for name in store.objects("iris/data/interim")) == 4
    for folder in ("data/interim", "data/processed", "models", "reports"):
        assert not (project.path / folder).exists()


@pytest.mark.parametrize("where", ["folder", pytest.param("bucket", marks=pytest.mark.torture)])
def test_workers_that_look_elsewhere_are_named(
    where: str, run: Run, bake: Bake, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    project, settings = bake(), {}
    of_workers = bake()
    if where == "bucket":  # which the workers do not know
        _, settings = request.getfixturevalue("in_bucket")
        settings = {**settings, "OUTPUTS": "s3://lab/elsewhere"}
        of_workers = project
    answer = run(sys.executable, "main.py", "run", "data-engineer", cwd=project.path, **settings)
    assert answer.returncode == 0, answer.stderr
    with dask(of_workers.path, tmp_path, workers=1) as engine:
        answer = run(sys.executable, "main.py", *TUNE, cwd=project.path, ENGINE=engine, **settings)
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("Error: No candidate could be evaluated: UserError: There is no '")
    assert last.endswith("/split_data' in data/processed: check its name.")


def test_a_wrong_address_is_named_in_one_sentence(run: Run, bake: Bake) -> None:
    project = bake()
    engine = f"tcp://127.0.0.1:{free_port()}"
    answer = run(sys.executable, "main.py", cwd=project.path, ENGINE=engine)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"Error: ENGINE={engine}: no cluster answers there (")
    assert answer.stdout + answer.stderr == answer.stderr.splitlines()[0] + "\n"
    assert not (project.path / "data" / "processed").exists()

"""The flows on a cluster: a scheduler and two workers, each a process of its own, by address."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Bake, BakedProject, Run

LONG = 300  # seconds; a test that waits this long fails, and none does when all is well
SEARCH = ("tune", "--param", "candidates=4", "--param", "folds=3")
Start = Callable[..., Path]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def processes(folder: Path, logs: Path) -> Iterator[Start]:
    """Yield a function that starts a program and returns its log once that has certain words."""
    started: list[psutil.Popen] = []

    def start(words: str, *command: object) -> Path:
        log = logs / f"{len(started)}.log"
        with log.open("wb") as file:
            started.append(
                psutil.Popen(
                    [*map(str, command)],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                )
            )
        deadline = time.monotonic() + LONG
        while words not in (text := log.read_text("utf-8", errors="replace")):
            assert started[-1].poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        return log

    try:
        yield start
    finally:
        family: list[psutil.Process] = [*started]
        family += [one for parent in started for one in parent.children(recursive=True)]
        for parent in reversed(started):  # the workers first: their scheduler is still there
            parent.terminate()
        _, alive = psutil.wait_procs(family, timeout=30)
        for process in alive:
            process.kill()


@contextmanager
def dask(project: Path, logs: Path) -> Iterator[str]:
    """Yield the address of a Dask scheduler with two workers."""
    address = f"tcp://127.0.0.1:{free_port()}"
    here = (sys.executable, "-m", "dask")
    with processes(project, logs) as start:
        scheduler = ("--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard")
        start("Scheduler at:", *here, "scheduler", *scheduler)
        worker = (address, "--host", "127.0.0.1", "--nthreads", 1, "--no-dashboard")
        workers = [start("Registered to:", *here, "worker", *worker) for _ in range(2)]
        yield address
        for log in workers:
            assert "Task run 'evaluate" in log.read_text("utf-8"), "both had something to do"


@contextmanager
def ray(project: Path, logs: Path) -> Iterator[str]:
    """Yield the address of a Ray head with two workers; the head itself runs no task."""
    program = shutil.which("ray", path=sysconfig.get_path("scripts"))
    common = (
        *(program, "start", "--block", "--node-ip-address", "127.0.0.1"),
        *("--min-worker-port", 0, "--max-worker-port", 0, "--dashboard-agent-listen-port", 0),
        *("--object-store-memory", 80_000_000, "--disable-usage-stats"),
    )
    own, port = free_port(), free_port()
    head = ("--head", "--port", own, "--ray-client-server-port", port, "--num-cpus", 0)
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        processes(project, logs) as start,
    ):
        rest = ("--include-dashboard", "false", "--temp-dir", folder)  # a short path, for sockets
        start("Ray runtime started", *common, *head, *rest)
        worker = ("--address", f"127.0.0.1:{own}", "--num-cpus", 1)
        for _ in range(2):  # one after the other: at once they take each other's ports
            start("Ray runtime started", *common, *worker)
        yield f"ray://127.0.0.1:{port}"


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


def outputs(run: Run, project: BakedProject, engine: str) -> dict[str, Any]:
    """Run main-flow, and tune on its split; return the checksums and figures that they left."""
    shutil.rmtree(project.path / "data" / "interim", ignore_errors=True)  # all is computed anew
    left: dict[str, Any] = {}
    for flow in (("main-flow",), SEARCH):
        answer = run(sys.executable, "main.py", "run", *flow, cwd=project.path, ENGINE=engine)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "Traceback" not in answer.stdout + answer.stderr
        name = answer.stdout.partition("reports/")[2].partition("/")[0]
        facts = json.loads(project.text(f"data/processed/{name}/run.json"))
        assert facts["state"] == "Completed"
        left[flow[0]] = {task: result["sha256"] for task, result in facts["results"].items()}
        for path in sorted((project.path / "reports" / name).iterdir()):
            if path.name != "report.html":  # it has the name of the run in it
                left[f"{flow[0]} {path.name}"] = path.read_bytes()
    assert {path.suffix for path in (project.path / "data" / "interim").iterdir()} >= {".json"}
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
    project, wanted = on_threads
    with cluster(project.path, tmp_path) as engine:
        assert outputs(run, project, engine) == wanted
    assert list(wanted["main-flow"]) == ["get_classes", "split_data", "train_model"]


def test_a_wrong_address_is_said_in_one_sentence(run: Run, bake: Bake) -> None:
    project = bake()
    engine = f"tcp://127.0.0.1:{free_port()}"
    answer = run(sys.executable, "main.py", cwd=project.path, ENGINE=engine)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"Error: ENGINE={engine}: no cluster answers there (")
    assert answer.stdout + answer.stderr == answer.stderr.splitlines()[0] + "\n"
    assert not (project.path / "data" / "processed").exists()

"""Clusters of Dask and Ray on this machine: scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from measure import free_port, free_ports, stop

LONG_SECONDS = 300  # nothing takes so long when all is well
HOST = "127.0.0.1"
Start = Callable[..., Path]


@contextmanager
def dask(
    project: Path, logs: Path, workers: int = 2, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield the address of a Dask scheduler whose workers have one thread each.

    `logs` gets a file for each process: 0.log of the scheduler, 1.log of the first worker ...
    All of them have the variables of `environment`.
    """
    address = f"tcp://{HOST}:{free_port()}"
    program = (sys.executable, "-m", "dask")
    with _processes(project, logs, environment) as start:
        port = address.rpartition(":")[2]
        scheduler = ("scheduler", "--host", HOST, "--port", port, "--no-dashboard")
        start("Scheduler at:", *program, *scheduler)
        worker = ("worker", address, "--host", HOST, "--nthreads", 1, "--no-dashboard")
        for _ in range(workers):
            start("Registered to:", *program, *worker)
        yield address


@contextmanager
def ray(project: Path, logs: Path, workers: int = 2) -> Iterator[str]:
    """Yield the address of a Ray head, which runs no task itself; its workers have one thread each.

    `logs` gets a file for each process.
    """
    # The head forks for each client while gRPC runs, whose fork handlers sometimes make the child
    # hang and die: github.com/ray-project/ray/issues/63202.
    no_handlers = {"GRPC_ENABLE_FORK_SUPPORT": "false"}
    program = shutil.which("ray", path=sysconfig.get_path("scripts"))
    common = (
        *(program, "start", "--block", "--node-ip-address", HOST, "--disable-usage-stats"),
        *("--min-worker-port", 0, "--max-worker-port", 0, "--dashboard-agent-listen-port", 0),
        *("--object-store-memory", 80_000_000),
    )
    own, port = free_ports(2)
    head = ("--head", "--port", own, "--ray-client-server-port", port, "--num-cpus", 0)
    with (
        # Not in `logs`: the path of a socket must be short.
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        _processes(project, logs, no_handlers) as start,
    ):
        start(
            "runtime started", *common, *head, "--include-dashboard", "false", "--temp-dir", folder
        )
        for _ in range(workers):  # one by one: started together, they take each other's ports
            start("runtime started", *common, "--address", f"{HOST}:{own}", "--num-cpus", 1)
        yield f"ray://{HOST}:{port}"


@contextmanager
def _processes(folder: Path, logs: Path, environment: Mapping[str, str] | None) -> Iterator[Start]:
    """Yield a function that starts a program, and returns its log once given words are in it."""
    started: list[subprocess.Popen[bytes]] = []
    logs.mkdir(parents=True, exist_ok=True)

    def start(words: str, *command: object) -> Path:
        log = logs / f"{len(started)}.log"
        with log.open("wb") as file:
            started.append(
                subprocess.Popen(
                    [*map(str, command)],
                    cwd=folder,
                    env={**os.environ, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
        deadline = time.monotonic() + LONG_SECONDS
        while words not in (text := log.read_text("utf-8", errors="replace")):
            ended = [one.args for one in started if one.poll() is not None]
            assert not ended, f"{ended}: {text}"
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        return log

    try:
        yield start
    finally:
        for process in reversed(started):  # the workers first: their scheduler is still there
            stop(process)

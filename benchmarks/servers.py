"""Keeps a server up while runs are measured: Prefect's own, or the one of our project."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from contenders import Folder
from measure import Command, WrongError, free_port, say, stop

START_TIMEOUT_SECONDS = 120
SETTLE_SECONDS = 5  # a new server still registers blocks and deployments for a while


@contextmanager
def prefect_server(project: Folder, env: dict[str, str] | None = None) -> Iterator[dict[str, str]]:
    """Keep a Prefect server up, as its documentation starts it; yield the variables for a run."""
    port = free_port()
    command = project.command("server", "prefect", "server", "start", "--port", str(port), env=env)
    with server(project, command, f"http://127.0.0.1:{port}/api/health"):
        yield {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}


@contextmanager
def server(project: Folder, command: Command, health: str = "") -> Iterator[psutil.Process]:
    """Start a server, yield its process when it answers, and stop it at the end."""
    with (project.path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command.argv],
            cwd=command.cwd,
            env=command.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not _answers(health or _recorded(project)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise WrongError((project.path / "server.log").read_text("utf-8")[-2000:])
            time.sleep(0.1)
        say("  server is up")
        time.sleep(SETTLE_SECONDS)
        yield psutil.Process(process.pid)
    finally:
        stop(process)


def _recorded(project: Folder) -> str:
    """Return the address that our `ui` records, or nothing yet."""
    try:
        record = (project.path / ".prefect" / "server.json").read_text(encoding="utf-8")
        return f"{json.loads(record)['api_url']}/health"
    except (OSError, ValueError):
        return ""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, ValueError):
        return False

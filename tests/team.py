"""What a team has on machines of its own, started for tests: PostgreSQL, Prefect's server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import BakedProject
from measure import free_port

LONG = 240  # seconds; only a hang takes so long

# For a server that a test asks itself, without Prefect's client, which would bring a token.
ASKED = {"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "false"}
KEY = "iris:s3cr3t-of-the-team"


def answers(url: str) -> bool:
    """Tell whether a server answers."""
    try:
        return bool(ask(url))
    except OSError:
        return False


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Return what a server answers; with a body, to a question that is posted."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen[Any]) -> None:
    """Return when the condition holds; fail where one of the processes ends before."""
    deadline = time.monotonic() + LONG
    while not condition():
        for process in processes:
            assert process.poll() is None, f"{process.args!r} has ended"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def kill(process: subprocess.Popen[Any]) -> None:
    """End a process and all that it has started at once, as a machine without power does."""
    if process.poll() is None:
        family = [
            *psutil.Process(process.pid).children(recursive=True),
            psutil.Process(process.pid),
        ]
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait(LONG)
        assert not psutil.wait_procs(family, timeout=LONG)[1]


def prefect(*arguments: str) -> list[str]:
    """Return Prefect's command, of the environment that runs the tests."""
    program = shutil.which("prefect", path=sysconfig.get_path("scripts"))
    assert program
    return [program, *arguments]


@contextmanager
def prefect_server(
    project: BakedProject, port: int, host: str = "127.0.0.1", **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `prefect server start` in a project's folder until the end, when it is killed."""
    log = project.path / ".prefect" / "team.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as output:
        server = subprocess.Popen(
            prefect("server", "start", "--host", host, "--port", str(port)),
            cwd=project.path,
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: answers(f"http://{host}:{port}/api/health"), server)
        yield server
    finally:
        kill(server)


class Postgres:
    """A PostgreSQL cluster in a folder of its own, which is its user's: it refuses to be root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        """Make the cluster; it does not run yet."""
        self.programs, self.folder, self.port = programs, folder, free_port()
        self.process: subprocess.Popen[Any] | None = None
        self.user: dict[str, Any] = {"user": "nobody"} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(folder, "nobody")
        key = folder / "key"
        key.write_text("s3cr3t", encoding="utf-8")
        self._run("initdb", "-D", folder / "data", "-U", "prefect", "-A", "scram-sha-256",
                  f"--pwfile={key}", "--no-sync")  # fmt: skip

    @property
    def url(self) -> str:
        """The address for Prefect's setting."""
        return f"postgresql+asyncpg://prefect:s3cr3t@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and return when it answers."""
        command: list[object] = [
            self.programs / "postgres",
            "-D",
            self.folder / "data",
            "-p",
            self.port,
        ]
        for option in ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}"):
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **self.user,
            )
        ready = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, self.process)

    def stop(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self.process:
            self.process.send_signal(3)  # SIGQUIT: an immediate shutdown, then a recovery
            self.process.wait(LONG)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, **self.user)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL cluster, with Debian's programs or those on the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("initdb")
    if not places and not on_path:
        pytest.skip("needs PostgreSQL (Debian: apt-get install postgresql)")
    programs = places[-1] if places else Path(str(on_path)).parent
    # Not pytest's folder, into which only its owner may look.
    with tempfile.TemporaryDirectory(prefix="postgres", ignore_cleanup_errors=True) as folder:
        cluster = Postgres(programs, Path(folder))
        cluster.start()
        yield cluster
        cluster.stop()

"""Prefect Cloud, played by a server of the tests: keys, workspaces, and no server of our own.

What it lets through is answered by a real Prefect server behind it. Nothing asks the real Cloud.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from conftest import BakedProject, Run
from measure import free_port
from team import ask
from test_running import plain_environment, project

pytestmark = pytest.mark.slow

__all__ = ["plain_environment", "project"]  # fixtures

KEY = "pnu_s3cr3t-of-the-test"
ACCOUNT, WORKSPACE, STRANGERS = (f"{digit * 8}-1111-4111-8111-{digit * 12}" for digit in "123")
MINE = {
    "account_id": ACCOUNT,
    "account_name": "School",
    "account_handle": "school",
    "workspace_id": WORKSPACE,
    "workspace_name": "Iris",
    "workspace_handle": "iris",
    "workspace_description": "",
}


@dataclass
class Cloud:
    """A server that checks keys and workspaces as Prefect Cloud does."""

    url: str
    behind: str
    asked: list[str] = field(default_factory=list)  # what was let through

    def workspace(self, workspace: str = WORKSPACE) -> str:
        """Return the address of a workspace."""
        return f"{self.url}/accounts/{ACCOUNT}/workspaces/{workspace}"

    def answer(self, method: str, path: str, key: str, body: bytes) -> tuple[int, bytes]:
        """Return the status and the content of an answer."""
        if key != f"Bearer {KEY}":
            return 401, b'{"detail": "Invalid authentication credentials"}'
        if path == "/api/me/workspaces":
            return 200, json.dumps([MINE]).encode()
        workspace = self.workspace().removeprefix(self.url.removesuffix("/api"))
        if not path.startswith(workspace):
            return 403, b'{"detail": "Not Authorized"}'
        self.asked.append(path.removeprefix(workspace))
        request = urllib.request.Request(
            self.behind + self.asked[-1],
            body or None,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def cloud(
    project: BakedProject, plain_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    """Start a fake Cloud, and a Prefect server behind it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = self.headers.get("Authorization", "")
            status, content = fake.answer(self.command, self.path, key, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815  (it asks for these names)

        def log_message(self, *_: object) -> None:
            pass

    with (
        subprocess.Popen(
            [sys.executable, "-m", "runtime.server.process"],
            cwd=project.path,
            env={**os.environ, "PREFECT_HOME": str(tmp_path_factory.mktemp("cloud"))},
            stdin=subprocess.PIPE,  # the server ends when this is closed
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as behind,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as front,
    ):
        assert behind.stdout
        fake = Cloud(f"http://127.0.0.1:{front.server_port}/api", behind.stdout.readline().strip())
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield fake
        front.shutdown()


def assert_no_server_was_started(project: BakedProject) -> None:
    """Assert that Prefect's folder of the project has no database and no log of a server."""
    names = {path.name for path in project.path.glob(".prefect/*")}
    assert not names & {"prefect.db", "server.log", "server.json"}


def nobody() -> str:
    """Return an address where nobody answers."""
    return f"http://127.0.0.1:{free_port()}/api"


@pytest.mark.parametrize(
    ("trouble", "command"),
    [
        ("wrong key", "run data-engineer"),
        ("wrong key", "ui --no-browser"),
        ("wrong key", "doctor"),
        ("foreign workspace", "run data-engineer"),
        ("nobody answers", "run data-engineer"),
        ("nobody answers", "ui --no-browser"),
    ],
)
def test_who_is_refused_reads_one_sentence_and_never_the_key(
    trouble: str, command: str, cloud: Cloud, project: BakedProject, run: Run
) -> None:
    address, key, code, sentence = {
        "wrong key": (cloud.workspace(), KEY[:-1], 2, "does not accept your key: log in again"),
        "foreign workspace": (cloud.workspace(STRANGERS), KEY, 2, "does not allow this with your"),
        "nobody answers": (nobody(), KEY, 1, "cannot be reached: see whether a Prefect"),
    }[trouble]
    answer = run(
        *(sys.executable, "main.py", *command.split()),
        cwd=project.path,
        PREFECT_CLOUD_API_URL=cloud.url,
        PREFECT_API_URL=address,
        PREFECT_API_KEY=key,
    )
    begin = "FAIL Server    " if command == "doctor" else "Error: "
    assert f"\n{begin}{address} {sentence}" in f"\n{answer.stdout}\n{answer.stderr}"
    assert answer.returncode == (1 if command == "doctor" else code)
    assert "s3cr3t" not in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    assert_no_server_was_started(project)


def test_after_a_login_runs_are_in_the_workspace_and_no_server_is_started(
    cloud: Cloud, project: BakedProject, run: Run
) -> None:
    login = ("prefect", "cloud", "login", "--key", KEY, "--workspace", "school/iris")
    logged_in = run(*login, cwd=project.path, PREFECT_CLOUD_API_URL=cloud.url)
    assert logged_in.returncode == 0, logged_in.stdout + logged_in.stderr
    profiles = project.path / ".prefect" / "profiles.toml"
    assert cloud.workspace() in profiles.read_text(encoding="utf-8")
    ignored = run("git", "check-ignore", profiles, cwd=project.path)
    assert ignored.returncode == 0, "the key could get into the repository"

    answer = run(sys.executable, "main.py", cwd=project.path, PREFECT_CLOUD_API_URL=cloud.url)

    assert answer.returncode == 0, answer.stderr
    page = f"/account/{ACCOUNT}/workspace/{WORKSPACE}"
    assert answer.stdout.splitlines()[-1].endswith(page)
    assert "s3cr3t" not in answer.stdout + answer.stderr
    assert_no_server_was_started(project)
    runs = ask(f"{cloud.behind}/flow_runs/filter", {})
    assert [one["state_type"] for one in runs] == ["COMPLETED"] * 3
    for path in project.path.rglob("*"):
        if path.is_file() and path != profiles:
            assert b"s3cr3t" not in path.read_bytes(), path

    back = run("prefect", "cloud", "logout", cwd=project.path)
    assert back.returncode == 0, back.stdout + back.stderr
    asked = len(cloud.asked)
    alone = run(sys.executable, "main.py", "run", "data-engineer", cwd=project.path)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.splitlines()[-1] == "Dashboard    python main.py ui"
    assert len(cloud.asked) == asked

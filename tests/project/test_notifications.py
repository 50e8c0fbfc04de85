"""NOTIFY: who is told of runs that nobody watches, and what."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from conftest import NAME, Answer, facts, wait_until
from flows.data_engineer import data_engineer
from prefect.settings import PREFECT_UI_URL, temporary_settings
from runtime import notifications

BAD = "data/raw/none.csv"


class Receiver:
    """Takes messages on this machine, as a service of Apprise's would."""

    def __init__(self) -> None:  # noqa: D107
        self.messages: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                receiver.messages.append(json.loads(self.rfile.read(length)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"json://user:hidden@127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    known = Receiver()
    yield known
    known.server.shutdown()
    known.server.server_close()


@pytest.fixture
def unwatched(prefect_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the runs of this process be those of a deployment."""
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(uuid4()))
    for name in ("on_failure_hooks", "on_crashed_hooks", "on_completion_hooks"):
        monkeypatch.setattr(data_engineer, name, [])


def fail() -> None:
    with pytest.raises(Exception, match="there is no such file"):
        data_engineer(raw_path=BAD)


def test_a_run_that_fails_is_told_of_with_its_name_the_reason_and_the_dashboard(
    project: Path,
    receiver: Receiver,
    unwatched: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY", f"{receiver.address} {receiver.address}/second")
    with temporary_settings({PREFECT_UI_URL: "http://127.0.0.1:4200"}):  # the tests' has no pages
        fail()
    one, other = receiver.messages
    assert one == other
    assert one["type"] == "failure"
    assert one["title"] == f"{project.name}: data-engineer failed"
    assert one["message"].startswith("The run ")
    assert " of data-engineer failed: BadData: " in one["message"]
    assert "there is no such file" in one["message"]
    assert "; see http://" in one["message"]
    assert "hidden" not in one["message"]
    data_engineer()
    assert len(receiver.messages) == 2  # no failure of a deployment is known before it


def test_a_run_that_somebody_watches_is_not_told_of(
    project: Path, prefect_server: object, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY", receiver.address)
    fail()
    assert receiver.messages == []


def test_receivers_that_do_not_answer_harm_no_run_and_no_other_receiver(
    project: Path,
    receiver: Receiver,
    unwatched: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(notifications, "SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, and says nothing
        port = silent.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as gone:
            nobody = gone.getsockname()[1]
        addresses = [f"json://u:hidden@127.0.0.1:{port}", f"json://u:hidden@127.0.0.1:{nobody}"]
        monkeypatch.setenv("NOTIFY", " ".join([*addresses, receiver.address]))
        fail()
    assert len(receiver.messages) == 1
    lines = [line for line in caplog.messages if line.startswith("NOTIFY: ")]
    title = f"{project.name}: data-engineer failed"
    assert lines == [f"NOTIFY: json://… did not take the message '{title}'."] * 2
    assert "hidden" not in caplog.text


def test_a_bad_address_is_refused_by_serve_and_harms_no_run(
    project: Path,
    unwatched: None,
    command: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for address, shown in (("jason://u:hidden@host", "jason://…"), ("hidden", "…")):
        monkeypatch.setenv("NOTIFY", address)
        answer = command("serve")
        assert (answer.exit_code, answer.out) == (2, "")
        assert answer.err.startswith(f"Error: NOTIFY={shown} is not allowed: ")
        assert answer.err.count("\n") == 1
        assert "hidden" not in answer.err
    run = data_engineer()
    assert facts(project, run)["state"] == "Completed"


def test_addresses_in_pyproject_may_be_a_list(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY", raising=False)
    path = project / "pyproject.toml"
    text = path.read_text("utf-8").replace('notify = ""', 'notify = ["json://a", "json://b"]')
    path.write_text(text, encoding="utf-8")
    assert notifications.settings.notify() == ["json://a", "json://b"]


@pytest.mark.slow
def test_what_serve_runs_is_told_of_when_it_fails_is_killed_or_succeeds_again(
    project: Path, receiver: Receiver, program: Callable[..., "subprocess.Popen[str]"]
) -> None:
    own = {"PREFECT_API_URL": None, "PREFECT_HOME": None, "PREFECT_PROFILES_PATH": None}
    served = program("serve", NOTIFY=receiver.address, **own)
    record = project / ".prefect" / "server.json"
    assert served.stderr is not None
    wait_until(record.exists)
    url = json.loads(record.read_text("utf-8"))["api_url"]
    environment = {**os.environ, "PREFECT_API_URL": url}

    def start(*arguments: str) -> None:
        line = [sys.executable, "-m", "prefect", "deployment", "run", *arguments]
        wait_until(
            lambda: (
                subprocess.run(line, env=environment, capture_output=True, check=False).returncode
                == 0
            )
        )

    def told(number: int) -> str:
        wait_until(lambda: len(receiver.messages) >= number)
        assert len(receiver.messages) == number
        message: str = receiver.messages[-1]["message"]
        assert f"; see {url.removesuffix('/api')}/v2/runs/flow-run/" in message
        return message

    start(f"data-engineer/{NAME}", "--param", f"raw_path={BAD}")
    assert " of data-engineer failed: BadData: " in told(1)
    start(f"data-engineer/{NAME}", "--watch")
    assert " of data-engineer succeeded again; " in told(2)
    start(f"data-engineer/{NAME}", "--watch")
    start(f"tune/{NAME}", "--param", "candidates=200")
    processed = project / "data" / "processed"

    def searching() -> list[str]:
        runs = [path.name for path in processed.iterdir() if (path / "run.json").exists()]
        return [run for run in runs if facts(project, run)["state"] == "Running"]

    [run] = wait_until(searching)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(project) and "prefect.engine" in process.cmdline():
                process.kill()
    assert " of tune was killed: " in told(3)
    assert facts(project, run)["state"] == "Crashed"
    with (project / "flows" / "tune.py").open("a", encoding="utf-8") as file:
        file.write("\ndef (")
    start(f"tune/{NAME}")
    assert " of tune was killed: " in told(4)
    served.send_signal(signal.SIGINT)
    _out, err = served.communicate()
    assert "hidden" not in err

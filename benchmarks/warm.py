"""What is saved where runs start warm: `.venv/bin/python benchmarks/warm.py` writes warm.md.

It takes a quarter of an hour, on Linux. A generated project is served in three ways: by `main.py`,
by the same with `WARM=no`, and by `flow.serve` as Prefect's documentation has it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from contenders import generate
from measure import Command, compare, free_port, ratios, say, spread, stop

PEERS = Path(__file__).with_name("peers")
PAGE = Path(__file__).with_suffix(".md")
ROUNDS = 5
SCHEDULE_SECONDS = 60
WATCHED_SECONDS = 180
DOCUMENTED = "from flows.data_engineer import data_engineer as flow; flow.serve(name='documented')"


def main() -> None:
    """Measure all of it, and write the page."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        project = generate(folder / "generated")
        plain = _plain_script(folder / "plain", project)
        _run(project)  # the database
        lines = [
            "# Runs that start warm",
            "",
            "By `warm.py`; a figure is the median, with the least and the greatest in brackets.",
            *_whole_runs(project, plain),
            *_quick_runs(project),
            *_schedule(project),
        ]
    PAGE.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _whole_runs(project: Path, plain: Path) -> list[str]:
    python = [sys.executable]
    with _served(project, "main.py", "ui", "--no-browser") as ui:
        waiting = _waiting_process(ui)
        commands = [
            Command("plain script", [*python, "pipeline.py"], plain, _environment()),
            Command("main.py, WARM=no", [*python, "main.py"], project, _environment(WARM="no")),
            Command("main.py", [*python, "main.py"], project, _environment()),
        ]
        samples = compare(commands, ROUNDS, warmups=2)
        memory = waiting.memory_full_info()
    base = samples["plain script"].seconds
    return [
        "",
        "## `python main.py` with `ui` up, from the command to the prompt",
        "",
        "| | seconds | times the plain script |",
        "| --- | ---: | ---: |",
        *(
            f"| {name} | {spread(sample.seconds)} | {spread(ratios(sample.seconds, base))} |"
            for name, sample in samples.items()
        ),
        "",
        f"The waiting process holds {memory.rss / 1e6:.0f} MB of memory, of which "
        f"{memory.uss / 1e6:.0f} are shared with no other process.",
    ]


def _quick_runs(project: Path) -> list[str]:
    lines = [
        "",
        "## A quick run of `data-engineer`, from the request to its end",
        "",
        "| served by | seconds | of these, the flow |",
        "| --- | ---: | ---: |",
    ]
    ways: list[tuple[str, list[str], dict[str, str]]] = [
        ("`main.py ui`", ["main.py", "ui", "--no-browser"], {}),
        ("`main.py ui`, WARM=no", ["main.py", "ui", "--no-browser"], {"WARM": "no"}),
    ]
    for name, arguments, environment in ways:
        with _served(project, *arguments, **environment) as ui:
            if not environment:
                _waiting_process(ui)
            lines.append(_quick_row(name, _address(project), "data-engineer/iris-project"))
    port = str(free_port())
    api_url = f"http://127.0.0.1:{port}/api"
    server = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", port]
    # Else it asks for a token, which Prefect's client and pages bring.
    no_token = {"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "false"}
    with _process(project, *server, **no_token):
        _wait_for(lambda: _ask(f"{api_url}/health"))
        with _process(project, sys.executable, "-c", DOCUMENTED, PREFECT_API_URL=api_url):
            lines.append(_quick_row("Prefect's `flow.serve`", api_url, "data-engineer/documented"))
    return lines


def _quick_row(name: str, api_url: str, deployment: str) -> str:
    found = _wait_for(lambda: _ask(f"{api_url}/deployments/name/{deployment}"))
    seconds, of_flow = [], []
    for number in range(ROUNDS + 2):
        time.sleep(number % 4 / 2)  # not in step with the server's questions
        begin = time.monotonic()
        state = {"state": {"type": "SCHEDULED"}}
        create = f"{api_url}/deployments/{found['id']}/create_flow_run"
        run = _wait_for(lambda: _ask(create, state))["id"]  # noqa: B023 - SQLite may be busy

        def ended(run: str = run) -> Any:
            known = _ask(f"{api_url}/flow_runs/{run}")
            return known if known["state"]["type"] == "COMPLETED" else None

        known = _wait_for(ended)
        if number >= 2:
            seconds.append(time.monotonic() - begin)
            of_flow.append(known["total_run_time"])
    say(f"  {name}: {spread(seconds)}")
    return f"| {name} | {spread(seconds)} | {statistics.median(of_flow):.2f} |"


def _schedule(project: Path) -> list[str]:
    lines = [
        "",
        f"## `main-flow` every {SCHEDULE_SECONDS} seconds",
        "",
        "| | seconds of the processor in an hour | of these, server and `serve` |",
        "| --- | ---: | ---: |",
    ]
    for name, environment in (("warm", {}), ("`WARM=no`", {"WARM": "no"})):
        every = ["--every", str(SCHEDULE_SECONDS)]
        with _served(project, "main.py", "serve", *every, **environment) as serve:
            time.sleep(SCHEDULE_SECONDS)
            begin = _processor_seconds(serve, {})
            spent = dict(begin)
            end = time.monotonic() + WATCHED_SECONDS
            while time.monotonic() < end:
                _processor_seconds(serve, spent)
                time.sleep(0.05)
            new = {key: value - begin.get(key, 0) for key, value in spent.items()}
        hour = 3600 / WATCHED_SECONDS
        always = sum(value for key, value in new.items() if key in begin) * hour
        total = sum(new.values()) * hour
        say(f"  {name}: {total:.0f} s in an hour")
        lines.append(f"| {name} | {total:.0f} | {always:.0f} |")
    return lines


def _processor_seconds(root: psutil.Process, spent: dict[Any, float]) -> dict[Any, float]:
    """Note what each process of a family has taken so far, by its id and start."""
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            spent[process.pid, process.create_time()] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return spent


def _plain_script(plain: Path, project: Path) -> Path:
    shutil.copytree(project / "data" / "raw", plain / "data" / "raw")
    for file in (PEERS / "iris.py", PEERS / "plain" / "pipeline.py"):
        shutil.copy(file, plain)
    return plain


def _environment(**more: str) -> dict[str, str]:
    """Return the environment of whoever measures, without settings of Prefect and Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "PYTHON"))}
    return kept | more


def _run(project: Path) -> None:
    subprocess.run(
        [sys.executable, "main.py"],
        cwd=project,
        env=_environment(),
        check=True,
        capture_output=True,
    )


@contextmanager
def _process(project: Path, *command: str, **environment: str) -> Iterator[psutil.Process]:
    with (project / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=project, env=_environment(**environment), stdout=log, stderr=log
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        stop(process)


@contextmanager
def _served(project: Path, *arguments: str, **environment: str) -> Iterator[psutil.Process]:
    with _process(project, sys.executable, *arguments, **environment) as process:
        deployment = "deployments/name/tune/iris-project"
        _wait_for(lambda: _ask(f"{_address(project)}/{deployment}"))
        yield process


def _waiting_process(ui: psutil.Process) -> psutil.Process:
    """Return the process that waits for runs, when it does."""
    address = Path(ui.cwd()) / ".prefect" / "warm"

    def waiting() -> psutil.Process:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(address))
        [process] = [one for one in ui.children() if one.cmdline()[1].endswith("warm.py")]
        return process

    found: psutil.Process = _wait_for(waiting)
    return found


def _address(project: Path) -> str:
    record = json.loads((project / ".prefect" / "server.json").read_text(encoding="utf-8"))
    return str(record["api_url"])


def _ask(url: str, content: Any = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _wait_for(condition: Callable[[], Any]) -> Any:
    """Return what a condition returns as soon as it is something."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.05)
    raise TimeoutError


if __name__ == "__main__":
    main()

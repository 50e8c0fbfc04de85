"""How much time warm starts save: `.venv/bin/python benchmarks/warm.py` writes warm.md.

It takes a quarter of an hour, on Linux. A generated project is served in three ways: by `main.py`,
by the same with `WARM=no`, and by `flow.serve` as Prefect's documentation has it.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from contenders import Folder, folder
from environments import OURS
from measure import Command, compare, ratios, run, say, spread
from servers import prefect_server, server

PAGE = Path(__file__).with_suffix(".md")
ROUNDS = 5
SCHEDULE_SECONDS = 60
WATCHED_SECONDS = 180
PATIENCE_SECONDS = 300
COLD = {"WARM": "no"}
DOCUMENTED = "from flows.data_engineer import data_engineer as flow; flow.serve(name='documented')"
# Otherwise Prefect's server asks for a token, which Prefect's client and pages send.
NO_TOKEN = {"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "false"}


def main() -> None:
    """Measure all of it, and write the page."""
    project, plain = folder(OURS, "warm"), folder("plain", "warm")
    run(project.command("first run", "main.py"))  # the database
    lines = [
        "# Runs that start warm",
        "",
        "By `warm.py`; a figure is the median, with the least and the greatest in brackets.",
        *_without_ui(project),
        *_with_ui(project, plain),
        *_quick_runs(project),
        *_schedule(project),
    ]
    PAGE.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _without_ui(project: Folder) -> list[str]:
    commands = [
        project.command("main.py, WARM=no", "main.py", env=COLD),
        project.command("main.py", "main.py"),
    ]
    title = "`python main.py` without `ui`, from the command to the prompt"
    return _compared(title, commands, "WARM=no")


def _with_ui(project: Folder, plain: Folder) -> list[str]:
    commands = [
        plain.command("plain script", "pipeline.py"),
        project.command("main.py, WARM=no", "main.py", env=COLD),
        project.command("main.py", "main.py"),
    ]
    with _served(project, "ui", "--no-browser") as ui:
        waiting = _waiting_process(project, ui)
        title = "`python main.py` with `ui` up, from the command to the prompt"
        lines = _compared(title, commands, "the plain script")
        memory = waiting.memory_full_info()
    return [
        *lines,
        "",
        f"The waiting process holds {memory.rss / 1e6:.0f} MB of memory, of which "
        f"{memory.uss / 1e6:.0f} are shared with no other process.",
    ]


def _compared(title: str, commands: list[Command], base: str) -> list[str]:
    """Return a table of whole processes, and their ratios to the first of the same round."""
    samples = compare(commands, ROUNDS, warmups=2)
    first = samples[commands[0].name].seconds
    rows = [
        f"| {name} | {spread(sample.seconds)} | {spread(ratios(sample.seconds, first))} |"
        for name, sample in samples.items()
    ]
    head = f"| | seconds | times {base} |"
    return ["", f"## {title}", "", head, "| --- | ---: | ---: |", *rows]


def _quick_runs(project: Folder) -> list[str]:
    rows = []
    with _served(project, "ui", "--no-browser") as ui:
        _waiting_process(project, ui)
        rows.append(_quick_row("`main.py ui`", _address(project), "iris-project"))
    with _served(project, "ui", "--no-browser", env=COLD):
        rows.append(_quick_row("`main.py ui`, WARM=no", _address(project), "iris-project"))
    with prefect_server(project, NO_TOKEN) as at:
        api_url = at["PREFECT_API_URL"]
        documented = project.command("flow.serve", "python", "-c", DOCUMENTED, env=at)
        with server(project, documented, f"{api_url}/health"):
            rows.append(_quick_row("Prefect's `flow.serve`", api_url, "documented"))
    return [
        "",
        "## A quick run of `data-engineer`, from the request to its end",
        "",
        "| served by | seconds | of these, the flow |",
        "| --- | ---: | ---: |",
        *rows,
    ]


def _quick_row(name: str, api_url: str, deployment: str) -> str:
    found = _wait_for(lambda: _ask(f"{api_url}/deployments/name/data-engineer/{deployment}"))
    seconds, of_flow = [], []
    for number in range(ROUNDS + 2):
        time.sleep(number % 4 / 2)  # not in step with the polls
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


def _schedule(project: Folder) -> list[str]:
    lines = [
        "",
        f"## `main-flow` every {SCHEDULE_SECONDS} seconds",
        "",
        "| | seconds of the processor in an hour | of these, server and `serve` |",
        "| --- | ---: | ---: |",
    ]
    for name, environment in (("warm", None), ("`WARM=no`", COLD)):
        every = ["--every", str(SCHEDULE_SECONDS)]
        with _served(project, "serve", *every, env=environment) as serve:
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
    """Note the processor seconds of a process and its descendants so far, by id and start."""
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            spent[process.pid, process.create_time()] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return spent


@contextmanager
def _served(
    project: Folder, *words: str, env: dict[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Serve the flows by a command of main.py; yield its process when all are deployed."""
    _socket(project).unlink(missing_ok=True)  # left by one that was killed
    with server(project, project.command("served", "main.py", *words, env=env)) as process:
        _wait_for(lambda: _ask(f"{_address(project)}/deployments/name/tune/iris-project"))
        yield process


def _waiting_process(project: Folder, ui: psutil.Process) -> psutil.Process:
    """Return the process that waits for runs, as soon as it does."""
    _wait_for(_socket(project).is_socket)
    [process] = [one for one in ui.children() if one.cmdline()[1].endswith("warm.py")]
    return process


def _socket(project: Folder) -> Path:
    return project.path / ".prefect" / "warm"


def _address(project: Folder) -> str:
    file = project.path / ".prefect" / "server.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["api_url"])


def _ask(url: str, content: Any = None) -> Any:
    method = "GET" if content is None else "POST"
    answer = httpx.request(method, url, json=content, timeout=30, trust_env=False)
    return answer.raise_for_status().json()


def _wait_for(condition: Callable[[], Any]) -> Any:
    """Return the value of a condition once it is true; raise `TimeoutError` if it never is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, httpx.HTTPError):
            pass
        time.sleep(0.05)
    raise TimeoutError


if __name__ == "__main__":
    main()

"""Prefect's records in PostgreSQL: one run, many at once, and both servers killed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import BakedProject, Run
from cookiecutter.main import cookiecutter
from measure import free_port
from team import ASKED, LONG, Postgres, ask, kill, postgres, prefect_server, wait_for
from test_load import let_wait
from test_running import only_json, plain_environment

pytestmark = pytest.mark.slow

__all__ = ["plain_environment", "postgres"]  # fixtures

SETTING = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


@pytest.fixture
def project(template: Path, tmp_path: Path) -> BakedProject:
    """Return a new default project."""
    return BakedProject(Path(cookiecutter(str(template), no_input=True, output_dir=str(tmp_path))))


def test_a_run_keeps_its_records_in_postgresql(
    project: BakedProject, run: Run, postgres: Postgres
) -> None:
    for seed in (1, 2):  # the first one also creates the tables
        command = (sys.executable, "main.py", "--param", f"seed={seed}")
        answer = run(*command, cwd=project.path, **{SETTING: postgres.url})
        assert answer.returncode == 0, answer.stderr
    assert not (project.path / ".prefect" / "prefect.db").exists()
    listed = run(
        *("prefect", "flow-run", "ls", "--limit", 100, "-o", "json"),
        cwd=project.path,
        **{SETTING: postgres.url},
    )
    runs = json.loads(only_json(listed.stdout))
    assert Counter(one["state"]["name"] for one in runs) == {"Completed": 6}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("s3cr3t", "wr0ng"), "…@127.0.0.1:{port}/postgres cannot be used: password auth"),
        (("/postgres", "/nothing"), "cannot be used: database \"nothing\" does not exist."),
        (("127.0.0.1", "nowhere.invalid"), "…@nowhere.invalid:{port}/postgres cannot be used: "),
        (("+asyncpg", ""), "should be like postgresql+asyncpg://host:5432/database, "),
    ],
)  # fmt: skip
def test_a_database_that_cannot_be_used_is_named_in_one_sentence(
    change: tuple[str, str], sentence: str, project: BakedProject, run: Run, postgres: Postgres
) -> None:
    url = postgres.url.replace(*change)
    answer = run(sys.executable, "main.py", cwd=project.path, **{SETTING: url})
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"Error: {SETTING}"), answer.stderr
    assert sentence.format(port=postgres.port) in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    for password in ("s3cr3t", "wr0ng"):
        assert password not in answer.stdout + answer.stderr


def test_four_runs_go_on_when_both_servers_are_killed(
    project: BakedProject, postgres: Postgres
) -> None:
    run_while_both_are_killed(project, postgres, 4)


@pytest.mark.torture
def test_twenty_runs_go_on_when_both_servers_are_killed(
    project: BakedProject, postgres: Postgres
) -> None:
    run_while_both_are_killed(project, postgres, 20)


def run_while_both_are_killed(project: BakedProject, postgres: Postgres, number: int) -> None:
    """Kill PostgreSQL and Prefect's server during so many runs, and assert that all complete."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    settings = {SETTING: postgres.url, **ASKED}
    let_wait(project)
    with prefect_server(project, port, **settings) as server, started(project, url, number) as runs:
        wait_for(lambda: computing(url) == number, *runs)
        kill(server)
        postgres.stop()
        postgres.start()
        with prefect_server(project, port, **settings):
            (project.path / "go").touch()
            for one in runs:
                output = one.communicate(timeout=LONG * 4)[0]
                assert one.returncode == 0, output
            ids = flow_run_ids(project)
            assert len(ids) == number
            filter_by_id = {"flow_runs": {"id": {"any_": ids}}}
            records = ask(f"{url}/flow_runs/filter", filter_by_id)
            assert Counter(one["state_type"] for one in records) == {"COMPLETED": number}


def computing(url: str) -> int:
    """Return how many runs are in the middle of a task."""
    tasks = ask(
        f"{url}/task_runs/filter", {"task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    )
    return sum(one["name"].startswith("load_data") for one in tasks)


@contextmanager
def started(project: BakedProject, url: str, number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start so many runs of main-flow at the same time, each with a seed of its own."""
    runs = [
        subprocess.Popen(
            [sys.executable, "main.py", "--param", f"seed={seed}"],
            cwd=project.path,
            env={**os.environ, "PREFECT_API_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for seed in range(number)
    ]
    try:
        yield runs
    finally:
        for one in runs:
            kill(one)


def flow_run_ids(project: BakedProject) -> list[str]:
    """Return the ids of the runs that completed, each of which has a seed of its own."""
    facts = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in project.path.glob("data/processed/[!.]*/run.json")
    ]
    assert {one["state"] for one in facts} == {"Completed"}
    seeds = {one["flows"]["main-flow"]["parameters"]["seed"] for one in facts}
    assert len(seeds) == len(facts)
    return [one["flow_run_id"] for one in facts]

"""What people write in flows of their own, and what becomes of it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from conftest import NAME, PROJECT, Answer, ends, facts, outputs
from flows.data_engineer import data_engineer
from runtime import deployments, runs

Program = Callable[..., "subprocess.Popen[str]"]

TOP = """import asyncio

import numpy as np
from prefect import flow, task

from runtime import LocalResult, in_run_folder, update_run

PROCESSED = LocalResult(dir="data/processed")


"""


def run(project: Path, program: Program, code: str) -> Answer:
    """Write a flow `mine`, run it as a person does, and return what was printed."""
    (project / "flows" / "mine.py").write_text(TOP + code, "utf-8")
    return ends(program("run", "mine"))


def newest(project: Path) -> dict[str, Any]:
    """Return the run.json of the only run."""
    [path] = (project / "data" / "processed").glob("*/run.json")
    return facts(project, path.parent.name)


ASYNC = """@task
async def double(number: int) -> int:
    return 2 * number


@flow(log_prints=True)
async def mine() -> None:
    print("together", await asyncio.gather(double(2), double(3)))
"""


@pytest.mark.usefixtures("prefect_server")
def test_an_async_flow_is_run(project: Path, program: Program) -> None:
    answer = run(project, program, ASYNC)
    assert answer.exit_code == 0, answer.err
    assert "together [4, 6]" in answer.err


@pytest.mark.usefixtures("prefect_server")
def test_an_async_flow_may_have_a_folder_and_may_fail(project: Path, program: Program) -> None:
    in_folder = ASYNC.replace("async def mine", "@in_run_folder\nasync def mine")
    answer = run(project, program, in_folder)
    assert answer.exit_code == 0, answer.err
    assert "together [4, 6]" in answer.err
    assert newest(project)["state"] == "Completed"
    answer = run(project, program, in_folder.replace("return 2 *", "return 2 / 0 *"))
    assert answer.exit_code == 1
    assert "Error: ZeroDivisionError: division by zero (flows/mine.py, line 13)" in answer.err


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("serializer", ["", 'result_serializer="json", '])
def test_a_task_that_keeps_its_output_needs_a_format_of_the_projects(
    serializer: str, project: Path, program: Program
) -> None:
    answer = run(
        project,
        program,
        f"@task(result_storage=PROCESSED, {serializer}cache_policy=PROCESSED.per_run)\n"
        "def double() -> int:\n    return 2\n\n\n"
        "@flow\n@in_run_folder\ndef mine() -> None:\n    double()\n",
    )
    assert answer.exit_code == 1
    assert answer.err.splitlines()[-1] == (
        "Error: The task double needs one of these serializers: parquet, json-value, skops, png."
    )
    assert outputs(project) == []


@pytest.mark.usefixtures("prefect_server")
def test_a_metric_may_be_a_number_of_numpy_or_a_text(project: Path, program: Program) -> None:
    answer = run(
        project,
        program,
        "@flow\n@in_run_folder\ndef mine() -> None:\n"
        '    update_run(metrics={"errors": np.int64(3), "share": np.float32(0.5)})\n'
        '    update_run(metrics={"best": "SVC"})\n',
    )
    assert answer.exit_code == 0, answer.err
    assert "Metrics      errors 3, share 0.5000, best SVC\n" in answer.out
    assert newest(project)["metrics"] == {"errors": 3, "share": 0.5, "best": "SVC"}


@pytest.mark.usefixtures("prefect_server")
def test_tasks_at_the_same_time_may_all_add_facts(project: Path, program: Program) -> None:
    answer = run(
        project,
        program,
        "@task\ndef note(number: int) -> None:\n"
        '    update_run(**{f"number {number}": number})\n\n\n'
        "@flow\n@in_run_folder\ndef mine() -> None:\n    note.map(range(50)).result()\n",
    )
    assert answer.exit_code == 0, answer.err
    assert {f"number {number}": number for number in range(50)}.items() <= newest(project).items()


@pytest.mark.parametrize("arguments", [("run", "tune"), ("visualize", "tune"), ("serve",)])
def test_two_flows_of_one_name_are_refused(
    arguments: tuple[str, ...], project: Path, program: Program
) -> None:
    copy = (project / "flows" / "tune.py").read_text("utf-8")
    (project / "flows" / "tune_more.py").write_text(copy, "utf-8")
    error = "Error: flows/tune.py and flows/tune_more.py both have a flow 'tune': rename one.\n"
    assert ends(program(*arguments)) == Answer(2, "", error)


def test_a_flow_may_have_two_deployments_and_none_needs_tags(
    project: Path, prefect_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = yaml.safe_load((PROJECT / "prefect.yaml").read_text("utf-8"))
    one, *others = described["deployments"]
    del one["tags"]
    described["deployments"] = [one, *others, {**one, "name": "nightly"}]
    (project / "prefect.yaml").write_text(yaml.safe_dump(described), "utf-8")
    served: list[str] = []
    monkeypatch.setattr(
        prefect, "serve", lambda *all_of_them, **_: served.extend(d.name for d in all_of_them)
    )
    monkeypatch.setenv("WARM", "no")
    deployments.serve_flows(deployments.read_schedule(60, None, None))
    assert sorted(served) == sorted(["nightly", f"{NAME}-schedule", *[NAME] * 4])


def test_a_run_json_that_a_person_has_emptied_stops_no_run(
    project: Path, prefect_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = "2026-01-01_00-00-00_taken"
    monkeypatch.setattr(runs, "_name", lambda *_: taken)
    file = project / "data" / "processed" / taken / "run.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}", "utf-8")
    assert data_engineer() == f"{taken}-2"
    assert json.loads(file.read_text("utf-8")) == {}

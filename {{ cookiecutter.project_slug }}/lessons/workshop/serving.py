"""Runs a student's file as `python exercise.py` does, in a process that serves deployments.

The process, `python -m lessons.workshop.serving FILE`, ends when its standard input closes: it
outlives neither a check nor a judge that is ended. Nothing here gives up: a check has its limit.
"""

import contextlib
import json
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from lessons.workshop.records import ENDED_IN, Run, read_run
from runtime.settings import ROOT

LOGGED_WITHIN_SECONDS = 20  # after its end, the process of a run sends the last lines of its log


class Serving:
    """The deployments that a file serves while it runs."""

    def __init__(self, deployments: list[DeploymentResponse]) -> None:
        """Take what the server knows of them: `name`, `parameters`, `schedules`, `tags`, ..."""
        self.deployments = deployments

    def run(self, deployment: DeploymentResponse, **parameters: Any) -> Run:
        """Start a run as the dashboard does, wait until it has ended, and return its record."""
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
            while not (run.state and run.state.is_final()):
                time.sleep(0.05)
                run = client.read_flow_run(run.id)
        deadline = time.monotonic() + LOGGED_WITHIN_SECONDS
        ended = read_run(run.id)
        # One that has crashed may never log its end.
        while ended.state == "Completed" and time.monotonic() < deadline:
            of_flow = [log.message for log in ended.log_records if log.task_run_id is None]
            if any(message.startswith(ENDED_IN) for message in of_flow):
                break
            time.sleep(0.05)
            ended = read_run(run.id)
        return ended


@contextlib.contextmanager
def serving(file: Path) -> Iterator[Serving | dict[str, Any] | None]:
    """Run a file until the block ends; give its deployments, once they can be run.

    Where the file raises an error, give a finding's `key` and `values`; where it ends and serves
    nothing, None.
    """
    began = datetime.now(UTC)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(file)],
        cwd=file.parents[2],
        env={
            **os.environ,
            **get_current_settings().to_environment_variables(exclude_unset=True),
            "PYTHONPATH": str(ROOT),
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",  # each ten seconds is long for who waits
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    found: list[DeploymentResponse] = []
    try:
        with get_client(sync_client=True) as client:
            found = _wait_for_deployments(client, process, began)
        if found:
            yield Serving(found)
        else:
            said = process.communicate()[0]
            yield json.loads(said) if said else None
    finally:
        process.kill()
        process.communicate()
        with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
            for deployment in found:
                client.delete_deployment(deployment.id)


def _wait_for_deployments(
    client: SyncPrefectClient, process: "subprocess.Popen[str]", began: datetime
) -> list[DeploymentResponse]:
    """Return the deployments that the process looks after; none where it ends before."""
    while process.poll() is None:
        found = client.read_deployments()
        # A process makes all of its deployments before it asks for the first time what is to run.
        polled = [one for one in found if one.last_polled and one.last_polled > began]
        if polled:
            return polled
        time.sleep(0.05)
    return []


def main(file: Path) -> None:
    """Run the file as a script; print an error of it as a finding, in JSON."""
    from lessons.workshop.exercise import finding_of

    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = [str(file)]
    try:
        runpy.run_path(str(file), run_name="__main__")
    except BaseException as error:
        finding = finding_of(error, file)
        print(json.dumps({"key": finding.key, "values": finding.values}), file=answers, flush=True)
    os._exit(0)  # what Prefect has left to send, nobody waits for


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Two workers on hosts with addresses of their own: a run on each, and one that takes over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import PROJECT_FOLDER, BakedProject, Run
from cookiecutter.main import cookiecutter
from measure import free_port
from team import ASKED, ask, kill, prefect, prefect_server, wait_for
from template_copy import REPO
from test_load import let_wait
from test_running import completed, plain_environment

pytestmark = pytest.mark.slow

__all__ = ["plain_environment"]  # a fixture

TAKE_OVER = REPO / PROJECT_FOLDER / "docs" / "team" / "take-over.yaml"


@dataclass(frozen=True)
class Host:
    """A network namespace of Linux, which sees nothing of this machine but the server's address."""

    name: str
    address: str
    gateway: str

    @contextmanager
    def worker(self, project: BakedProject, port: int) -> Iterator[subprocess.Popen[Any]]:
        """Run a worker of the pool `iris-project` there, which does one run at a time."""
        start = prefect(
            "worker", "start", "--pool", "iris-project", "--name", self.name, "--limit", "1"
        )
        with self.log(project).open("ab") as log:
            worker = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *start],
                cwd=project.path,
                env={**os.environ, "PREFECT_API_URL": f"http://{self.gateway}:{port}/api"},
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(lambda: "started!" in self.output(project), worker)
            yield worker
        finally:
            kill(worker)

    def log(self, project: BakedProject) -> Path:
        """Return the file with what its worker prints."""
        return project.path / f"{self.name}.log"

    def output(self, project: BakedProject) -> str:
        """Return what its worker has printed so far."""
        return self.log(project).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    """Give two hosts that this machine can reach, and that reach it."""
    if sys.platform != "linux" or os.getuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs Linux, root and ip (Debian: apt-get install iproute2)")

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    # Names and addresses differ from those that tests which were killed have left.
    mine = os.getpid() % 2**14
    network = f"10.{64 + mine // 2**7}"
    with ExitStack() as to_undo:
        hosts = []
        for number in (1, 2):
            name, subnet = f"iris{mine}-{number}", f"{network}.{mine % 2**7 * 2 + number - 1}"
            host = Host(name, f"{subnet}.2", f"{subnet}.1")
            ip("netns", "add", host.name)
            to_undo.callback(ip, "netns", "delete", host.name)  # the cable goes with it
            ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            ip("address", "add", f"{host.gateway}/24", "dev", name)
            ip("link", "set", name, "up")
            ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.name, "link", "set", "eth0", "up")
            ip("-n", host.name, "link", "set", "lo", "up")
            hosts.append(host)
        yield hosts


@pytest.fixture
def project(template: Path, tmp_path: Path) -> BakedProject:
    """Return a new default project whose data-engineer waits until there is a file `go`."""
    path = cookiecutter(str(template), no_input=True, output_dir=str(tmp_path))
    project = BakedProject(Path(path))
    let_wait(project)
    return project


@dataclass(frozen=True)
class Team:
    """A server with the three deployments, as a person sees it from a laptop."""

    project: BakedProject
    port: int
    run: Run

    @property
    def url(self) -> str:
        """The address of its API, from this machine."""
        return f"http://127.0.0.1:{self.port}/api"

    def do(self, command: str) -> None:
        """Run a command of Prefect's, as in the project's docs/teams.md."""
        done = self.run(*command.split(), cwd=self.project.path, PREFECT_API_URL=self.url)
        assert done.returncode == 0, done.stdout + done.stderr

    def states(self) -> list[str]:
        """Return the state of each run of a deployment."""
        runs = ask(f"{self.url}/flow_runs/filter", {})
        return [one["state_type"] for one in runs if one["deployment_id"]]

    def state_names_of_all(self) -> dict[str, list[str]]:
        """Return the states that each run of a deployment has had, by its id."""
        runs = ask(f"{self.url}/flow_runs/filter", {})
        return {
            one["id"]: [
                state["name"]
                for state in ask(f"{self.url}/flow_run_states/?flow_run_id={one['id']}")
            ]
            for one in runs
            if one["deployment_id"]
        }

    def clients(self) -> set[str]:
        """Return the addresses that have a connection to the server now."""
        connections = psutil.net_connections("tcp4")
        return {
            one.raddr.ip
            for one in connections
            if one.raddr and one.laddr and one.laddr.port == self.port
        }


@pytest.fixture
def team(project: BakedProject, run: Run) -> Iterator[Team]:
    """Start a server with the pool `iris-project`, and the three deployments in it."""
    team = Team(project, free_port(), run)
    with prefect_server(project, team.port, "0.0.0.0", **ASKED):
        team.do("prefect work-pool create iris-project --type process")
        team.do("prefect deploy --all")
        yield team


def test_two_workers_do_one_run_each_and_main_flow_starts_deployments(
    team: Team, project: BakedProject, hosts: list[Host]
) -> None:
    one, two = hosts
    with one.worker(project, team.port), two.worker(project, team.port):
        # main-flow holds one worker, and so the other one does what it starts.
        team.do(
            "prefect deployment run main-flow/iris-project --param seed=3 --param deployed=true"
        )
        wait_for(lambda: team.states() == ["RUNNING"] * 2)
        assert {one.address, two.address} <= team.clients()
        # Two may try to submit the same run; one of them gets it.
        wait_for(lambda: [submitted(host, project) for host in hosts] == [1, 1])
        (project.path / "go").touch()
        wait_for(lambda: team.states() == ["COMPLETED"] * 3)
        wait_for(lambda: sorted(submitted(host, project) for host in hosts) == [1, 2])
        # Its run.json says so a moment after Prefect does.
        wait_for(lambda: completed(project, "seed", 3))


def test_another_worker_takes_over_what_a_killed_one_has_left(
    team: Team, project: BakedProject, hosts: list[Host]
) -> None:
    one, two = hosts
    sooner = project.path / "sooner.yaml"  # a heartbeat comes each 30 seconds
    rule = TAKE_OVER.read_text(encoding="utf-8")
    assert "within: 90" in rule
    sooner.write_text(rule.replace("within: 90", "within: 40"), encoding="utf-8")
    team.do("prefect automation create --from-file sooner.yaml")
    with one.worker(project, team.port) as first:
        team.do("prefect deployment run main-flow/iris-project --param seed=4")
        wait_for(lambda: len(list(project.path.glob("data/processed/*/run.json"))) == 1)
        wait_for(lambda: heartbeats(team) > 0, first)
        kill(first)  # and the run with it
    (project.path / "go").touch()
    with two.worker(project, team.port):
        wait_for(lambda: team.states() == ["COMPLETED"])
        wait_for(lambda: completed(project, "seed", 4))
    [names] = team.state_names_of_all().values()
    assert "AwaitingRetry" in names
    assert len(list(project.path.glob("data/processed/*/run.json"))) == 1, (
        "it continues in its folder"
    )
    runs = ask(f"{team.url}/flow_runs/filter", {})
    assert {one["state_type"] for one in runs} == {"COMPLETED"}


def submitted(host: Host, project: BakedProject) -> int:
    """Return how many runs a worker has started, by its log."""
    return host.output(project).count("submitted to infrastructure")


def heartbeats(team: Team) -> int:
    """Return how many heartbeats of runs the server has."""
    question = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
    total: int = ask(f"{team.url}/events/filter", question)["total"]
    return total

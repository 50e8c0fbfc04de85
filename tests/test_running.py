"""What a person does with a generated project: the first run, the dashboard, the schedule."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import BakedProject, Run
from cookiecutter.main import cookiecutter
from measure import free_port
from team import LONG, ask, prefect_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """Return the default project in a folder as people have them."""
    folder = tmp_path_factory.mktemp("lição") / "my projects"
    return BakedProject(Path(cookiecutter(str(template), no_input=True, output_dir=str(folder))))


@pytest.fixture(scope="module", autouse=True)
def plain_environment() -> Iterator[None]:
    """Let nothing of whoever runs the tests decide which Prefect server is used."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.delenv("PYTHONUTF8", raising=False)  # a machine as it is delivered
        yield


def test_the_first_run_works_from_anywhere_and_leaves_nothing_elsewhere(
    project: BakedProject, run: Run, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.write_text("a home folder that is broken: it is a file", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = set(tmp_path.rglob("*"))

    first = run(
        *(sys.executable, project.path / "main.py"),
        cwd=elsewhere,
        HOME=str(home),
        USERPROFILE=str(home),
    )

    assert first.returncode == 0, first.stderr
    for task in ("load_data", "split_data", "train_model", "report_accuracy"):
        assert f"Task run '{task}-" in first.stderr
    assert "Model accuracy on test set: " in first.stderr
    for noise in ("Traceback", "Warning", "ERROR", "View at"):
        assert noise not in first.stderr + first.stdout
    summary = dict(line.split(maxsplit=1) for line in first.stdout.splitlines()[-6:])
    assert summary["Accuracy"].endswith("% of the test set (33.33% by guessing)")
    for name in ("Checkpoints", "Model", "Report"):
        assert (project.path / summary[name]).exists()
    assert summary["Dashboard"] == "python main.py ui"
    assert set(tmp_path.rglob("*")) == before

    flow_run = project.path / summary["Checkpoints"] / "run.json"
    name = flow_run.parent.name.rpartition("_")[2]
    listed = run("prefect", "flow-run", "ls", "-o", "json", cwd=project.path)
    names = {one["name"]: one["state"]["name"] for one in json.loads(only_json(listed.stdout))}
    assert names[name] == "Completed", "the plain prefect command sees the same runs"

    predicted = run(sys.executable, "main.py", "predict", 5.1, 3.5, 1.4, 0.2, cwd=project.path)
    assert predicted.stdout.startswith("setosa (probability 0.9")


@dataclass(frozen=True)
class Terminal:
    """A command that runs until Ctrl-C, in a terminal of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    address: Path

    @property
    def shown(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Where its dashboard is."""
        api_url: str = json.loads(self.address.read_text(encoding="utf-8"))["api_url"]
        return api_url.removesuffix("/api")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; fail where the command ends before."""
        deadline = time.monotonic() + LONG
        while not condition():
            assert self.process.poll() is None, self.shown
            assert time.monotonic() < deadline, self.shown
            time.sleep(0.2)

    def press_ctrl_c(self) -> None:
        """Do as a terminal does, and assert that nothing is left of the command."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        assert children
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(LONG)
        assert not psutil.wait_procs(children, timeout=LONG)[1], "a process stayed behind"
        assert not self.address.exists()
        # A run that is about to start, or about to end, is interrupted in Python's own words.
        interrupted = re.findall(r"^KeyboardInterrupt(?:: )?$", self.shown, re.MULTILINE)
        assert self.shown.count("Traceback (") == len(interrupted)


@contextmanager
def terminals(project: BakedProject, folder: Path) -> Iterator[Callable[..., Terminal]]:
    """Give a function that starts a command of the project and waits until it serves."""
    opened = []

    def start(*arguments: str) -> Terminal:
        if os.name == "nt":
            pytest.skip("Windows sends Ctrl-C to the whole console, and so to pytest")
        log = folder / "log.txt"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [sys.executable, "main.py", *arguments],
                cwd=project.path,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        terminal = Terminal(process, log, project.path / ".prefect" / "server.json")
        opened.append(terminal)
        terminal.wait_for(lambda: "being served" in terminal.shown)
        return terminal

    yield start
    for terminal in opened:
        if terminal.process.poll() is None:  # a test failed
            os.killpg(terminal.process.pid, signal.SIGKILL)


@pytest.fixture
def open_terminal(project: BakedProject, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Return a function that starts a command of the project and waits until it serves."""
    with terminals(project, tmp_path) as start:
        yield start


def test_the_dashboard_runs_deployments_and_is_found_by_runs(
    project: BakedProject, run: Run, open_terminal: Callable[..., Terminal]
) -> None:
    terminal = open_terminal("ui", "--no-browser")
    url = terminal.url
    assert f"Dashboard: {url}   (Ctrl-C stops it)\n" in terminal.shown
    # The page talks to its own server, whatever port that has.
    assert ask(f"{url}/ui-settings")["api_url"] == f"{url}/api"
    with urllib.request.urlopen(url) as page:
        assert b"<title>Prefect" in page.read()

    again = run(sys.executable, "main.py", "ui", cwd=project.path)
    assert again.returncode == 2
    assert again.stderr == f"Error: This project's dashboard already runs: {url}\n"

    by_hand = run(sys.executable, "main.py", "run", "data-engineer", cwd=project.path)
    assert f"Dashboard    {url}" in by_hand.stdout

    started = run(
        *("prefect", "deployment", "run", "main-flow/iris-project"),
        *("--param", "test_data_ratio=0.3", "--param", "deployed=true"),
        cwd=project.path,
        PREFECT_API_URL=f"{url}/api",
    )
    assert started.returncode == 0, started.stderr
    terminal.wait_for(lambda: completed(project, "test_data_ratio", 0.3))
    names = {flow["id"]: flow["name"] for flow in ask(f"{url}/api/flows/filter", {})}
    assert set(names.values()) == {"data-engineer", "data-science", "main-flow", "tune"}
    deployed = [one for one in ask(f"{url}/api/flow_runs/filter", {}) if one["deployment_id"]]
    begun = sorted(names[one["flow_id"]] for one in deployed)
    assert begun == ["data-engineer", "data-science", "main-flow"]
    assert all(one["tags"] == ["Iris Project"] for one in deployed)
    terminal.press_ctrl_c()


PULLS = {"git": "git_clone", "a folder": "set_working_directory"}


def test_prefect_deploys_all_flows_and_workers_find_the_project_here_and_elsewhere(
    template: Path, run: Run, tmp_path: Path
) -> None:
    made = cookiecutter(str(template), no_input=True, output_dir=str(tmp_path / "here"))
    project, there = BakedProject(Path(made)), tmp_path / "there"
    there.mkdir()
    copy = shutil.copytree(project.path, tmp_path / "srv")
    port = free_port()

    def do(command: str, folder: Path = project.path, **environment: str) -> str:
        server = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        done = run(*command.split(), cwd=folder, **server, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    work = "prefect worker start --pool iris-project --run-once"
    with prefect_server(project, port):
        for command in (  # as in the project's README
            "prefect work-pool create iris-project --type process",
            "prefect deploy --all",
            "prefect deployment run main-flow/iris-project --param seed=11",
        ):
            do(command)
        shown = do(work)
        assert completed(project, "seed", 11), shown

        described = project.text("prefect.yaml")
        for kind, step in PULLS.items():
            pull = pull_of(described, step)
            changed = pull.replace("https://github.com/YOU/iris-project", project.path.as_uri())
            changed = changed.replace("branch: main", f"branch: {branch(project, run)}")
            changed = changed.replace("/srv/iris-project", copy.as_posix())
            changed = described.replace(pull, re.sub("^# ", "", changed, flags=re.MULTILINE))
            (project.path / "prefect.yaml").write_text(changed, "utf-8")
            do("prefect deploy --name data-engineer/iris-project")
            do("prefect deployment run data-engineer/iris-project")
            shown = do(work, there, PREFECT_HOME=str(tmp_path / "home"))
            assert f"Executing deployment step: {step}" in shown
            assert "Task run 'split_data-" in shown
            assert len(list(project.path.glob("data/processed/*/run.json"))) == 1, "it is elsewhere"
            assert len(list(copy.glob("data/processed/*/run.json"))) == (kind == "a folder")


def pull_of(described: str, step: str) -> str:
    """Return what prefect.yaml has in a comment about one way to get at the project's files."""
    blocks = re.findall(r"^# pull:\n(?:#  .+\n)+", described, re.MULTILINE)
    [found] = [block for block in blocks if step in block]
    return str(found)


def branch(project: BakedProject, run: Run) -> str:
    """Return the branch of a project's repository."""
    return run("git", "branch", "--show-current", cwd=project.path).stdout.strip()


def scheduled(terminal: Terminal, *states: str) -> list[dict[str, Any]]:
    """Return the flow runs that the schedule has made and that are in one of these states."""
    # The server answers with 200 at most, and a schedule of seconds cancels more than that.
    in_state = {"flow_runs": {"state": {"type": {"any_": states}}}}
    runs = ask(f"{terminal.url}/api/flow_runs/filter", in_state)
    return [one for one in runs if one["auto_scheduled"]]


def completed(project: BakedProject, parameter: str, value: object) -> bool:
    """Tell whether main-flow has run to its end with this value."""
    for path in project.path.glob("data/processed/*/run.json"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        given = facts.get("flows", {}).get("main-flow", {}).get("parameters", {})
        if given.get(parameter) == value and facts["state"] == "Completed":
            return True
    return False


def only_json(output: str) -> str:
    """Return the JSON list in what a command printed."""
    return output[output.index("[") : output.rindex("]") + 1]

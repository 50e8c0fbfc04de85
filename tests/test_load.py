"""What a project does under load: many runs at once, a schedule without end, runs that overlap."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import BakedProject, Run
from cookiecutter.main import cookiecutter
from team import LONG, ask
from test_running import Terminal, completed, open_terminal, plain_environment, scheduled

pytestmark = pytest.mark.slow

__all__ = ["open_terminal", "plain_environment"]  # fixtures

REPO = Path(__file__).resolve().parents[1]
# What main-flow leaves in each of a run's folders, without the records next to it.
OUTPUTS = {
    "data/processed": ["get_classes.json", "run.json", "split_data.parquet"],
    "models": ["get_schema.json", "train_model.skops"],
    "reports": ["confusion_matrix.png", "metrics.json", "report.html"],
}
TROUBLE = re.compile("locked|Traceback|Retrying|Service Unavailable|ERROR")


@pytest.fixture
def make_project(template: Path, tmp_path: Path) -> Callable[[str], BakedProject]:
    """Return a function that generates the default project in a new folder of this name."""

    def make(name: str) -> BakedProject:
        folder = str(tmp_path / name)
        return BakedProject(Path(cookiecutter(str(template), no_input=True, output_dir=folder)))

    return make


@pytest.fixture
def project(make_project: Callable[[str], BakedProject]) -> BakedProject:
    """Return a new default project; also what `open_terminal` starts commands of."""
    return make_project("one")


# ---- many at once

# The accuracy of each run by its seed, without Prefect and in a single process.
ALONE = """
import json, sys
from pathlib import Path
from flows.data_engineer import PROCESSED, encode_categorical_columns, get_classes, split_data
from ml.checks import check_table
from ml.data import read_csv
from ml.model import train
data, _ = check_table(read_csv(Path("data/raw/iris.csv")), "species", 0.2)
encoded = encode_categorical_columns.fn(data, "species")
accuracies = {}
for run, seed in json.loads(sys.argv[1]).items():
    split = split_data.fn(encoded, 0.2, get_classes.fn(data, "species"), seed)
    stored = PROCESSED.read(location=f"{run}/split_data").value
    assert all(stored[part].equals(split[part]) for part in split), run
    model = train(split["train_x"], split["train_y"])
    is_right = model.predict(split["test_x"]) == split["test_y"].to_numpy()
    accuracies[run] = float(is_right.mean())
print(json.dumps(accuracies))
"""


def run_at_once(projects: list[BakedProject], each: int, run: Run) -> None:
    """Start runs at the same time, each with a seed of its own, and assert that none noticed."""
    started = [
        subprocess.Popen(
            [sys.executable, "main.py", "--param", f"seed={seed}"],
            cwd=project.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for project in projects
        for seed in range(each)
    ]
    shown = [process.communicate()[0] for process in started]
    for process, text in zip(started, shown, strict=True):
        assert process.returncode == 0, text
        assert not TROUBLE.search(text), text
    for project in projects:
        assert_each_belongs_together(project, each, run)


def assert_each_belongs_together(project: BakedProject, number: int, run: Run) -> None:
    """Assert that there are so many runs, each with all that it left, and nothing of another."""
    # A server that ends while it writes down what tasks did says so, and writes it once more.
    assert "database is locked" not in project.text(".prefect/server.log")
    assert recorded(project) == {
        ("main-flow", "COMPLETED", 2): number,
        ("data-engineer", "COMPLETED", 5): number,
        ("data-science", "COMPLETED", 7): number,
    }
    names = sorted(path.name for path in (project.path / "models").iterdir())
    seeds = {}
    for name in names:
        for folder, files in OUTPUTS.items():
            paths = (project.path / folder / name).iterdir()
            assert (
                sorted(path.name for path in paths if path.name not in (".records", ".readers"))
                == files
            )
        facts = json.loads(project.text(f"data/processed/{name}/run.json"))
        assert facts["state"] == "Completed"
        given = [flow["parameters"].get("seed") for flow in facts["flows"].values()]
        assert len({*given} - {None}) == 1
        seeds[name] = facts["flows"]["main-flow"]["parameters"]["seed"]
        assert all(f"/{name}/" in result["file"] for result in facts["results"].values())
    assert sorted(seeds.values()) == list(range(number))
    for folder in OUTPUTS:
        assert sorted(path.name for path in (project.path / folder).iterdir()) == names
    alone = run(sys.executable, "-c", ALONE, json.dumps(seeds), cwd=project.path)
    assert alone.returncode == 0, alone.stderr
    for name, accuracy in json.loads(alone.stdout.splitlines()[-1]).items():
        facts = json.loads(project.text(f"data/processed/{name}/run.json"))
        metrics = json.loads(project.text(f"reports/{name}/metrics.json"))
        assert facts["metrics"]["accuracy"] == metrics["accuracy"] == accuracy


def recorded(project: BakedProject) -> Counter[tuple[str, str, int]]:
    """Count what Prefect knows: flow, state, and how many tasks of it are known to have ended."""
    query = """
        SELECT flow.name, flow_run.state_type, (
            SELECT COUNT(*) FROM task_run
            WHERE task_run.flow_run_id = flow_run.id AND task_run.state_type = 'COMPLETED'
        ) FROM flow_run JOIN flow ON flow.id = flow_run.flow_id
    """
    with closing(sqlite3.connect(project.path / ".prefect" / "prefect.db")) as database:
        return Counter(database.execute(query).fetchall())


def test_four_runs_at_once_do_not_disturb_each_other(project: BakedProject, run: Run) -> None:
    run_at_once([project], 4, run)


@pytest.mark.torture
def test_twenty_runs_at_once_do_not_disturb_each_other(project: BakedProject, run: Run) -> None:
    run_at_once([project], 20, run)


@pytest.mark.torture
def test_five_projects_at_once_do_not_disturb_each_other(
    make_project: Callable[[str], BakedProject], run: Run
) -> None:
    run_at_once([make_project(str(number)) for number in range(5)], 4, run)


# ---- a schedule without end


def test_what_a_schedule_leaves_levels_off(run: Run, tmp_path: Path) -> None:
    """The short form of `python benchmarks/soak.py`; docs/images/soak.png shows the long one."""
    soaked = run(
        *(sys.executable, REPO / "benchmarks" / "soak.py", "--runs", 5),
        *("--folder", tmp_path / "soak", "--picture", tmp_path / "soak.png"),
        cwd=tmp_path,
        KEEP_RUNS="2",
    )
    assert soaked.returncode == 0, soaked.stderr
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
    project = BakedProject(tmp_path / "soak" / "iris-project")
    for folder in OUTPUTS:
        # One more was begun, and perhaps had no time to count.
        assert len(list((project.path / folder).glob("[!.]*"))) <= 4
    assert len(list((project.path / "data/interim").glob("*.parquet"))) == 1
    assert "Removed 1 old run(s), up to 20" in (tmp_path / "soak" / "serve.log").read_text("utf-8")
    third, *_, last = [line.split(",") for line in samples(tmp_path)[2:]]
    header = samples(tmp_path)[0].split(",")
    for name in ("server files", "runner files"):
        column = header.index(name)
        assert float(last[column]) <= float(third[column]) + 10


def samples(folder: Path) -> list[str]:
    return (folder / "soak" / "samples.csv").read_text(encoding="utf-8").splitlines()


# ---- runs that overlap

WAIT = """
    import time
    from runtime.settings import ROOT
    while not (ROOT / "go").exists():
        time.sleep(0.1)
"""
READ = "    return read_csv(raw_file(path))"


def let_wait(project: BakedProject) -> None:
    """Let each data-engineer of a project wait until there is a file `go` in its folder."""
    text = project.text("flows/data_engineer.py")
    assert READ in text
    file = project.path / "flows" / "data_engineer.py"
    file.write_text(text.replace(READ, f"{WAIT}\n{READ}"), encoding="utf-8")


def test_a_run_longer_than_its_interval_neither_piles_up_nor_starves(
    project: BakedProject, open_terminal: Callable[..., Terminal]
) -> None:
    let_wait(project)
    go = project.path / "go"

    terminal = open_terminal("serve", "--every", "1")
    terminal.wait_for(lambda: len(scheduled(terminal, "CANCELLED")) >= 3)
    [slow] = scheduled(terminal, "RUNNING", "PENDING")
    for one in scheduled(terminal, "CANCELLED"):
        assert one["state"]["message"] == "Deployment concurrency limit reached."
        assert one["run_count"] == 0
    assert not scheduled(terminal, "COMPLETED")
    go.touch()
    terminal.wait_for(lambda: len(scheduled(terminal, "COMPLETED")) >= 2)
    ended = scheduled(terminal, "COMPLETED")
    assert slow["id"] in {one["id"] for one in ended}
    spans = sorted((one["start_time"], one["end_time"]) for one in ended)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert completed(project, "test_data_ratio", 0.2)

    go.unlink()
    terminal.wait_for(lambda: is_waiting(terminal))
    processes = psutil.Process(terminal.process.pid).children(recursive=True)
    os.killpg(terminal.process.pid, signal.SIGKILL)
    terminal.process.wait(LONG)
    go.touch()
    assert not psutil.wait_procs(processes, timeout=LONG)[1], "a process stayed behind"
    done = len(list(project.path.glob("models/*")))
    again = open_terminal("serve", "--every", "1")
    again.wait_for(lambda: len(list(project.path.glob("models/*/*.skops"))) > done)
    again.press_ctrl_c()


def is_waiting(terminal: Terminal) -> bool:
    """Tell whether a task is running, and runs have been cancelled because of it."""
    running: list[Any] = scheduled(terminal, "RUNNING")
    tasks = {"flow_runs": {"parent_flow_run_id": {"any_": [one["id"] for one in running]}}}
    return bool(running) and any(
        one["name"].startswith("load_data") and one["state_type"] == "RUNNING"
        for one in ask(f"{terminal.url}/api/task_runs/filter", tasks)
    )

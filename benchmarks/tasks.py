"""Goal 6: what a task costs, in flows of 1, 10, 100 and 1,000 trivial tasks."""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from contenders import Folder, folder
from environments import OURS
from measure import Command, Samples, WrongError, compare, say, spread
from sections import Section

COUNTS = (1, 10, 100, 1000)
PREFECT = "Prefect, temporary server"
OUT_OF_REACH = {"Metaflow": 100}  # a process for each task: a thousand take a quarter of an hour
PEERS_ROUNDS = 3
SLOW = ("Dagster", "Metaflow")  # seconds to minutes from 100 tasks on


def tasks(rounds: int) -> Section:
    """Measure whole processes; a task's cost is the extra time of the longest flow, per task."""
    contenders = {
        "ours": folder(OURS, "tasks"),
        PREFECT: folder("prefect", "tasks"),
        "Dagster, in process": folder("dagster", "tasks"),
        "Luigi": folder("luigi", "tasks"),
        "Metaflow": folder("metaflow", "tasks"),
    }
    found: dict[str, dict[int, Samples]] = {name: {} for name in contenders}
    for count in COUNTS:
        say(f" {count} tasks")
        commands = [
            trivial_tasks(name, project, count)
            for name, project in contenders.items()
            if count <= OUT_OF_REACH.get(name, count)
        ]
        for name, sample in compare(commands, rounds).items():
            found[name][count] = sample

    text = (
        f"Whole processes. Rounds after a warm-up: {rounds}, the peers take part in "
        f"{PEERS_ROUNDS}, Dagster and Metaflow from 100 tasks on in one; 1,000 would take Metaflow "
        "a quarter of an hour. A task's cost is the time of the longest flow "
        "beyond that of one task, for each task. Luigi keeps no records; each of its tasks leaves "
        "a file. After each run of ours, the database had all of its task runs; after the last of "
        f"Prefect as documented, {recorded(contenders[PREFECT])} of {COUNTS[-1]:,}."
    )
    columns = ["", *(f"{count} tasks, s" for count in COUNTS), "a task, ms"]
    section = Section("tasks", "What a task costs", text, columns)
    for name, samples in found.items():
        cost = [1000 * seconds for seconds in _cost(samples)]
        cells = [spread(samples[count].seconds) if count in samples else "" for count in COUNTS]
        section.rows.append([name, *cells, spread(cost, 1)])
        section.series[name] = {
            str(count): statistics.median(sample.seconds) for count, sample in samples.items()
        }
        if name == "ours":
            text = "A task in a flow of 1,000, every one recorded"
            section.at_most(6, text, 4, cost, "ms")
    return section


def trivial_tasks(name: str, project: Folder, count: int) -> Command:
    """Return the command of a flow of `count` tasks; its check counts those that are recorded."""
    words = ["run", "--count", str(count), "--max-num-splits", "1000"]
    arguments = words if name == "Metaflow" else [str(count)]
    slow = name.startswith(SLOW) and count >= 100
    most_rounds = 1 if slow else 1_000 if project.peer == OURS else PEERS_ROUNDS
    command = project.command(name, "tasks.py", *arguments)
    command = replace(command, most_rounds=most_rounds)
    return (
        replace(command, check=_all_recorded(project, count)) if project.peer == OURS else command
    )


def recorded(project: Folder) -> int:
    """Return how many task runs of the newest flow run Prefect's database has as completed."""
    home = project.path if project.peer == OURS else project.path / "home"
    with closing(sqlite3.connect(home / ".prefect" / "prefect.db")) as connection:
        (found,) = connection.execute(
            "select count(*) from task_run where state_type = 'COMPLETED' and flow_run_id ="
            " (select id from flow_run order by created desc limit 1)"
        ).fetchone()
    return int(found)


def _all_recorded(project: Folder, count: int) -> Callable[[], None]:
    """Return a check that the newest flow run has `count` completed task runs."""

    def check() -> None:
        if (found := recorded(project)) != count:
            raise WrongError(f"{found} of {count} task runs are recorded as completed")

    return check


def _cost(samples: dict[int, Samples]) -> list[float]:
    most = max(samples)
    pairs = zip(samples[most].seconds, samples[1].seconds, strict=False)
    return [(seconds - of) / (most - 1) for seconds, of in pairs]

"""Goals 1 to 4: how long a run takes on 150 rows, from the command to the prompt."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import replace

from contenders import Folder, floor, folder, in_agreement
from environments import OURS
from measure import compare, ratios, run
from sections import Section
from servers import prefect_server, server

RECORD_THEIR_RUNS = ("Prefect", "Dagster", "Metaflow")
FLOWER = ("5.1", "3.5", "1.4", "0.2")


def cold(rounds: int) -> Section:
    """Measure a run with no server up and an existing database."""
    plain = folder("plain")
    ours, prefect, dagster = folder(OURS), folder("prefect"), folder("dagster")
    metaflow, kedro, luigi = folder("metaflow"), folder("kedro"), folder("luigi")
    materialize = ("asset", "materialize", "--select", "*", "-f", "definitions.py")
    pairs = [
        (plain, plain.command("plain script", "pipeline.py")),
        (luigi, luigi.command("Luigi", "pipeline.py")),
        (kedro, kedro.command("Kedro", "kedro", "run")),
        floor(),
        (ours, ours.command("ours", "main.py")),
        (dagster, dagster.command("Dagster, in process", "pipeline.py")),
        (prefect, prefect.command("Prefect, temporary server", "pipeline.py")),
        (metaflow, metaflow.command("Metaflow", "pipeline.py", "run")),
        (dagster, dagster.command("Dagster, command line", "dagster", *materialize)),
    ]
    text = f"150 rows, no server up, the database there. Rounds after a warm-up: {rounds}."
    samples = compare(in_agreement(plain, pairs), rounds)

    section = Section("cold", "A run", text, ["", "seconds", "times the plain script"])
    section.add_times(samples, "plain script")
    base = samples["plain script"].seconds
    section.at_most(1, "Cold start", 2.5, ratios(samples["ours"].seconds, base))
    recording = [name for name in samples if name.startswith(RECORD_THEIR_RUNS)]
    medians = {name: statistics.median(samples[name].seconds) for name in recording}
    fastest = min(medians, key=medians.__getitem__)
    mine = statistics.median(samples["ours"].seconds)
    figure = f"{mine:.2f} s; {fastest} {medians[fastest]:.2f} s"
    text = "Cold start: ahead of every peer that records its runs"
    section.holds(1, text, figure, mine < medians[fastest])
    return section


def served(rounds: int) -> Section:
    """Measure a run while a server is up: ours, and Prefect's own."""
    plain = folder("plain")
    ours, prefect = folder(OURS, "served"), folder("prefect", "served")
    with (
        server(ours, ours.command("ui", "main.py", "ui", "--no-browser")),
        prefect_server(prefect) as at,
    ):
        pairs = [
            (plain, plain.command("plain script", "pipeline.py")),
            (ours, ours.command("ours, ui up", "main.py")),
            (prefect, prefect.command("Prefect, server up", "pipeline.py", env=at)),
        ]
        samples = compare(in_agreement(plain, pairs), rounds)
    text = f"150 rows, both servers up all the time. Rounds after a warm-up: {rounds}."
    section = Section("served", "With a server up", text, ["", "seconds", "times the plain script"])
    section.add_times(samples, "plain script")
    base = samples["plain script"].seconds
    section.at_most(2, "With `ui` up", 0.8, ratios(samples["ours, ui up"].seconds, base))
    return section


def first(rounds: int) -> Section:
    """Measure the very first run in a new project."""
    plain = folder("plain")
    ours, prefect = folder(OURS, "first"), folder("prefect", "first")

    def forget(project: Folder, name: str) -> None:
        project.clean()
        shutil.rmtree(project.path / name, ignore_errors=True)

    run_ours = ours.command("ours, first run", "main.py")
    run_prefect = prefect.command("Prefect, first run", "pipeline.py")
    pairs = [
        (plain, plain.command("plain script", "pipeline.py")),
        (ours, replace(run_ours, prepare=lambda: forget(ours, ".prefect"))),
        (prefect, replace(run_prefect, prepare=lambda: forget(prefect, "home/.prefect"))),
    ]
    samples = compare(in_agreement(plain, pairs), rounds)
    text = f"150 rows, no database yet. Rounds after a warm-up: {rounds}."
    columns = ["", "seconds", "times the plain script"]
    section = Section("first", "The very first run in a new project", text, columns)
    section.add_times(samples, "plain script")
    base = samples["plain script"].seconds
    section.at_most(3, "Very first run", 3.5, ratios(samples["ours, first run"].seconds, base))
    return section


def commands(rounds: int) -> Section:
    """Measure the commands that need no run."""
    plain = folder("plain")
    ours = folder(OURS, "commands")
    run(ours.command("main.py", "main.py"))  # a model to predict with

    wrong = ("run", "--param", "test_data_ratio=2")
    goals = [
        (0.5, ours.command("main.py --help", "main.py", "--help", keep=True)),
        (
            0.5,
            ours.command("main.py visualize --help", "main.py", "visualize", "--help", keep=True),
        ),
        (
            0.5,
            ours.command(
                "main.py, an error in a parameter", "main.py", *wrong, exit_code=2, keep=True
            ),
        ),
        (1.1, ours.command("main.py predict", "main.py", "predict", *FLOWER, keep=True)),
    ]
    base = plain.command("plain script", "pipeline.py", keep=True)
    predict = plain.command("plain script that predicts", "predict.py", *FLOWER, keep=True)
    samples = compare([base, predict, *(command for _, command in goals)], rounds)
    text = f"Rounds after a warm-up: {rounds}."
    section = Section("commands", "Other commands", text, ["", "seconds", "times the plain script"])
    section.add_times(samples, base.name)
    for limit, command in goals:
        times = ratios(samples[command.name].seconds, samples[base.name].seconds)
        section.at_most(4, f"`{command.name}`", limit, times)
    return section

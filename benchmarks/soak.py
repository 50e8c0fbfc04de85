"""Lets a schedule run `main-flow` hundreds of times, and draws what grows: memory, files, disk.

`python benchmarks/soak.py` makes a project in build/soak, serves it with a run every two seconds
(so one begins when another is over), and writes a line into samples.csv after each. Stopped and
started again, it continues where it was; when there are enough samples, it draws them.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from matplotlib.figure import Figure

REPO = Path(__file__).resolve().parents[1]
FOLDERS = (".prefect", "data/interim", "data/processed", "models", "reports")
PATIENCE_SECONDS = 600  # for one run; only a hang takes so long
# The hour of prefect.toml is as long as the soak: nobody would see that old records are removed.
EVENTS = {
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "PT10M",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "60",
}

Row = dict[str, float]


def main() -> int:
    """Take the samples that are missing, and draw them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=REPO / "build" / "soak")
    parser.add_argument("--picture", type=Path, default=REPO / "docs" / "images" / "soak.png")
    options = parser.parse_args()
    project = options.folder / "iris-project"
    if not project.exists():
        _generate(options.folder)
    rows = read(options.folder / "samples.csv")
    if len(rows) < options.runs:
        soak(project, options.folder / "samples.csv", options.runs)
    draw(read(options.folder / "samples.csv"), options.picture)
    return 0


def soak(project: Path, samples: Path, runs: int) -> None:
    """Serve the schedule until `runs` runs have left a line each in `samples`."""
    seen = set(_ended(project))
    rows = read(samples)
    before = rows[-1]["seconds"] if rows else 0.0
    start = time.monotonic()
    with _served(project) as (runner, server):
        deadline = start + PATIENCE_SECONDS
        while len(rows) < runs:
            for run, state in _ended(project).items():
                if run in seen:
                    continue
                seen.add(run)
                if state != "Completed":
                    raise SystemExit(f"{run} ended as {state}")
                row = {"run": len(rows) + 1.0, "seconds": before + time.monotonic() - start}
                rows.append(row | _processes(runner, server) | sizes(project))
                _write(samples, rows[-1])
                deadline = time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > deadline or runner.status() == psutil.STATUS_ZOMBIE:
                raise SystemExit(f"No run came to its end: see {project.parent / 'serve.log'}")
            time.sleep(0.5)


def sizes(project: Path) -> Row:
    """Return the bytes in each folder that runs write to, and how many runs there are."""
    row = {folder: float(_bytes(project / folder)) for folder in FOLDERS}
    return row | {"runs kept": float(len(list(project.glob("data/processed/[!.]*/run.json"))))}


def read(samples: Path) -> list[Row]:
    """Return the lines of a file of samples; none where there is no such file."""
    if not samples.exists():
        return []
    with samples.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def draw(rows: list[Row], picture: Path) -> None:
    """Draw memory, open files and folders over the number of the run."""
    runs = [row["run"] for row in rows]
    panels = {
        "memory, MB": (("server memory", "runner memory"), 1e6),
        "open files": (("server files", "runner files"), 1.0),
        ".prefect/, MB": ((".prefect",), 1e6),
        "outputs, MB": (FOLDERS[1:], 1e6),
    }
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    for axis, (title, (names, unit)) in zip(axes.flat, panels.items(), strict=True):
        for name in names:
            axis.plot(runs, [row[name] / unit for row in rows], label=name, linewidth=1)
        axis.set_title(title)
        axis.set_ylim(bottom=0)
        axis.legend(loc="lower right", fontsize="small")
    for axis in axes[1]:
        axis.set_xlabel("scheduled runs")
    hours = rows[-1]["seconds"] / 3600
    figure.suptitle(f"python main.py serve: {len(rows)} runs one after the other, {hours:.1f} h")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


@contextmanager
def _served(project: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """Serve the schedule; yield the process that starts runs, and that of the server."""
    environment = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
    address = project / ".prefect" / "server.json"
    address.unlink(missing_ok=True)
    with (project.parent / "serve.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "main.py", "serve", "--every", "2"],
            cwd=project,
            env=EVENTS | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        runner, servers = psutil.Process(process.pid), list[psutil.Process]()
        while not servers:
            if process.poll() is not None:
                raise SystemExit(f"The server did not start: see {project.parent / 'serve.log'}")
            time.sleep(0.5)
            servers = [
                child for child in runner.children() if "runtime.server.process" in child.cmdline()
            ]
        yield runner, servers[0]
    finally:
        process.terminate()
        process.wait()


def _processes(runner: psutil.Process, server: psutil.Process) -> Row:
    row = {}
    for name, process in (("runner", runner), ("server", server)):
        row[f"{name} memory"] = float(process.memory_info().rss)
        is_posix = hasattr(process, "num_fds")  # which counts sockets and pipes too
        row[f"{name} files"] = float(process.num_fds() if is_posix else len(process.open_files()))
    return row


def _ended(project: Path) -> dict[str, str]:
    """Return the state of each run that has ended, by its name."""
    states = {}
    for path in sorted(project.glob("data/processed/[!.]*/run.json")):
        with suppress(FileNotFoundError):  # it was removed just now
            states[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))["state"]
    return {run: state for run, state in states.items() if state != "Running"}


def _bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that are removed meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_size
    return total


def _write(samples: Path, row: Row) -> None:
    is_new = not samples.exists()
    with samples.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _generate(folder: Path) -> None:
    template = folder / "template"
    copy = [sys.executable, str(REPO / "tests" / "template_copy.py"), str(template)]
    subprocess.run(copy, check=True)
    generate = [sys.executable, "-m", "cookiecutter", str(template), "--no-input"]
    home = {name: str(folder) for name in ("HOME", "USERPROFILE")}  # replay files go there
    subprocess.run([*generate, "--output-dir", str(folder)], check=True, env={**os.environ, **home})


if __name__ == "__main__":
    sys.exit(main())

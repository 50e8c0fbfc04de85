"""Writes benchmarks/results.md and the chart results.png from what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil
from data import combine
from environments import OURS, REPO, version
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sections import Goal, Section, load

FOLDER = Path(__file__).resolve().parent
PARTS = ("cold", "served", "first", "commands", "generation", "tasks", "data", "size")
PACKAGES = {
    OURS: "prefect",
    "kedro": "kedro",
    "dagster": "dagster",
    "luigi": "luigi",
    "metaflow": "metaflow",
    "ccds": "cookiecutter-data-science",
}
COLOURS = {"ours": "#1f6feb", "Prefect": "#8250df", "Dagster": "#bf8700", "Metaflow": "#cf222e"}
COLOURS |= {"Luigi": "#57606a", "Kedro": "#1a7f37"}
GREY = "#8c959f"


def write() -> None:
    """Write both files from the parts that were measured so far."""
    sections = {name: combine() if name == "data" else load(name) for name in PARTS}
    found = {name: one for name, one in sections.items() if one and one.rows}
    goals = sorted((goal for one in found.values() for goal in one.goals), key=lambda g: g.number)
    lines = ["# Results", "", *_about(found), "", "![Chart](results.png)", "", *_goals(goals)]
    for one in found.values():
        lines += ["", f"## {one.title}", "", f"{one.text} Measured {one.date}.", ""]
        lines += _table(one.columns, one.rows)
    (FOLDER / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _draw(found, FOLDER / "results.png")


def _about(found: dict[str, Section]) -> list[str]:
    versions = [f"{version(peer, package)} ({package})" for peer, package in PACKAGES.items()]
    memory = psutil.virtual_memory().total / 2**30
    missing = [name for name in PARTS if name not in found]
    lines = [
        "Written by `make bench`; [README.md](README.md) says what is measured and how. "
        "A figure is the median of all rounds, with the least and the greatest in brackets; "
        "ratios are taken pair by pair.",
        "",
        f"- Machine: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"{platform.system()} {platform.machine()}",
        f"- Python {platform.python_version()}; {', '.join(versions)}; "
        f"pandas {version(OURS, 'pandas')}, scikit-learn {version(OURS, 'scikit-learn')}, "
        f"pyarrow {version(OURS, 'pyarrow')}",
        f"- The project at commit {_commit()}",
    ]
    if missing:
        lines.append(f"- Not measured yet: {', '.join(missing)}")
    return lines


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _goals(goals: list[Goal]) -> list[str]:
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [[str(goal.number), goal.text, goal.figure, marks[goal.met]] for goal in goals]
    return ["## Goals", "", *_table(["", "goal", "measured", "met"], rows)]


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join([' --- '] * len(columns))}|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _draw(found: dict[str, Section], file: Path) -> None:
    figure = Figure(figsize=(12, 9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    bars, curves, times, memory = figure.subplots(2, 2).flat
    _draw_bars(bars, found)
    if "tasks" in found:
        for name, points in found["tasks"].series.items():
            _line(curves, name, {int(count): seconds for count, seconds in points.items()})
        curves.set(xscale="log", yscale="log", title="Flows of trivial tasks")
        curves.set(xlabel="tasks", ylabel="seconds, whole process")
        curves.legend(fontsize=8)
    if "data" in found:
        _draw_data(times, memory, found["data"].series)
    figure.savefig(file)


def _draw_bars(axes: Any, found: dict[str, Section]) -> None:
    series: dict[str, float] = {}
    for name in {"cold", "served"} & found.keys():
        series |= found[name].series
    names = sorted(series, key=series.__getitem__, reverse=True)
    bars = axes.barh(names, [series[name] for name in names], color=[_colour(n) for n in names])
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.margins(x=0.12)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set(title="A run on 150 rows", xlabel="times the plain script")
    axes.tick_params(axis="y", labelsize=8)


def _draw_data(times: Any, memory: Any, series: dict[str, list[float]]) -> None:
    for name in dict.fromkeys(key.rpartition("/")[0] for key in series):
        of_name = [key for key in series if key.startswith(f"{name}/")]
        rows = [int(key.rpartition("/")[2]) for key in of_name]
        for place, axes in enumerate((times, memory)):
            points = [series[key][place] for key in of_name]
            _line(axes, name, dict(zip(rows, points, strict=True)))
    for axes, title in ((times, "Time"), (memory, "Peak memory")):
        axes.set(xscale="log", title=f"{title} by rows", xlabel="rows")
        axes.set_ylabel("times the plain script")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)


def _line(axes: Any, name: str, points: dict[int, float]) -> None:
    style = ":" if "second" in name else "-"
    width = 2.5 if name.startswith("ours") else 1.3
    axes.plot(
        list(points), list(points.values()), style, marker="o", markersize=4, linewidth=width,
        color=_colour(name), label=name,
    )  # fmt: skip


def _colour(name: str) -> str:
    return next((colour for start, colour in COLOURS.items() if name.startswith(start)), GREY)

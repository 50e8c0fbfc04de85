"""How much faster two workers are than one: `tune` on processes, Dask and Ray.

`python benchmarks/scaling.py` makes a project in build/scaling and a split of many rows in it, lets
the flow search on clusters of one and of two workers in turn, and prints and writes a small table.
What counts is the time of the search itself: from the split that was read to the last candidate.
Each worker is a process with one thread; with `processes` they start within that time, on Dask and
Ray they are already running. It runs in the environment of the tests, which has all extras.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from clusters import dask, ray
from measure import WrongError, ratios, say, spread
from rows import write_data

REPO = Path(__file__).resolve().parents[1]
BUILD = REPO / "build" / "scaling"
# A candidate must not use the other worker's processor.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def processes(project: Path, logs: Path, workers: int) -> Iterator[str]:
    """Yield the engine that starts its own workers."""
    yield "processes"


ENGINES = {"processes": processes, "dask": dask, "ray": ray}


def main() -> int:
    """Measure each engine, print the table and write it to build/scaling/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    project = _project(options.rows)
    lines = [
        f"{options.candidates} candidates, 5 folds, {options.rows:,} rows; seconds of the search: "
        f"median (least-greatest) of {options.rounds} pairs.",
        "",
        "| engine | 1 worker | 2 workers | times as fast |",
        "| --- | ---: | ---: | ---: |",
    ]
    tables: set[bytes] = set()
    for engine in options.engines:
        say(f"{engine}:")
        one, two = _pairs(project, engine, options.candidates, options.rounds, tables)
        lines.append(
            f"| {engine} | {spread(one, 1)} | {spread(two, 1)} | {spread(ratios(one, two))} |"
        )
    if len(tables) != 1:
        raise WrongError("The searches differ in what they found.")
    say("\n".join(["", *lines, "", "All searches found the same, to the last byte."]))
    (BUILD / "results.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return 0


def _pairs(
    project: Path, engine: str, candidates: int, rounds: int, tables: set[bytes]
) -> tuple[list[float], list[float]]:
    """Return the seconds of each search with one worker and with two, which take turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with ExitStack() as stack:
        addresses = {
            workers: stack.enter_context(
                ENGINES[engine](project, BUILD / f"{engine}-{workers}", workers)
            )
            for workers in seconds
        }
        for number in range(-1, rounds):  # the first lets workers import what they need
            for workers in (1, 2) if number % 2 else (2, 1):
                took = _search(project, addresses[workers], workers, candidates, tables)
                say(f"  {workers} worker(s): {took:.1f} s{' (warm-up)' if number < 0 else ''}")
                if number >= 0:
                    seconds[workers].append(took)
    return seconds[1], seconds[2]


def _search(project: Path, engine: str, workers: int, candidates: int, tables: set[bytes]) -> float:
    """Run `tune` once, with an empty cache; return the seconds that its search took."""
    shutil.rmtree(project / "data" / "interim", ignore_errors=True)
    own = {"ENGINE": engine, "PREFECT_TASKS_RUNNER_PROCESS_POOL_MAX_WORKERS": str(workers)}
    shown = _main(project, "run", "tune", "--param", f"candidates={candidates}", **own)
    begin = re.search(r"^(\S+) .*'read_split.*Finished", shown, re.MULTILINE)
    end = re.search(rf"^(\S+) .* {candidates}/{candidates} ", shown, re.MULTILINE)
    found = re.search(r"reports/\S+/search\.png", shown)
    if not (begin and end and found):
        raise WrongError(f"tune shows something else:\n{shown}")
    tables.add((project / found[0]).with_suffix(".json").read_bytes())
    one, other = (datetime.strptime(place[1], "%H:%M:%S.%f") for place in (begin, end))
    return (other - one).total_seconds() % timedelta(days=1).total_seconds()  # over midnight, too


def _project(rows: int) -> Path:
    """Return a new project that has a split of `rows` rows."""
    raw = write_data(rows)
    shutil.rmtree(BUILD, ignore_errors=True)
    copy = [sys.executable, str(REPO / "tests" / "template_copy.py"), str(BUILD / "template")]
    subprocess.run(copy, check=True, stdout=subprocess.DEVNULL)
    generate = ["cookiecutter", str(BUILD / "template"), "--no-input", "-o", str(BUILD)]
    subprocess.run([sys.executable, "-m", *generate], check=True, stdout=subprocess.DEVNULL)
    project = BUILD / "iris-project"
    shutil.copy(raw, project / "data" / "raw" / "iris.csv")
    _main(project, "run", "data-engineer")
    return project


def _main(project: Path, *arguments: str, **environment: str) -> str:
    """Return what `python main.py` shows; raise `WrongError` where it fails."""
    answer = subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if answer.returncode:
        raise WrongError(answer.stdout)
    return answer.stdout


if __name__ == "__main__":
    sys.exit(main())

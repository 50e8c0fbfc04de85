"""How long a student waits for a verdict of the workshop, from a save to the sentence.

`.venv/bin/python benchmarks/verdicts.py` writes verdicts.md, in a minute. Seconds of the processor
are those of the judge and the server together, which a busy machine changes least.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "{{ cookiecutter.project_slug }}"))

from lessons.workshop import server
from lessons.workshop.catalogue import find_lesson
from lessons.workshop.checking import Judge
from runtime.server import stop, wait_until_ready

PAGE = Path(__file__).with_suffix(".md")
STEPS = (  # with the number of the lesson, the file that is checked, and the goal in seconds
    ("the first, a wrong answer", 1, "exercise", 5),
    ("the next, a right one", 1, "solution", 2),
    ("again a wrong one", 2, "exercise", 2),
    ("after it, a right one", 2, "solution", 2),
    ("lesson 5, a deployment is served and run", 5, "solution", 10),
    ("lesson 10, a deployment with a schedule", 10, "solution", 10),
)


def main() -> None:
    """Open a session as `main.py lessons` does, check the steps in turn, write the table."""
    begin = time.monotonic()
    started = server.start_server()
    judge = Judge()
    rows: list[tuple[str, object, float, float]] = []
    try:
        wait_until_ready(started)
        judge.wait_until_ready()
        rows.append(("opening the workshop", "", time.monotonic() - begin, _processor_seconds()))
        for name, number, file, goal in STEPS:
            assert not judge.is_spent
            lesson = find_lesson(number, "en")
            begin, before = time.monotonic(), _processor_seconds()
            outcome = judge.check(lesson, lesson.folder / f"{file}.py")
            spent = _processor_seconds() - before
            rows.append((name, goal, time.monotonic() - begin, spent))
            assert outcome.passed == (file == "solution"), outcome
    finally:
        judge.stop()
        stop(started)
    lines = [
        "# How long a student waits for a verdict\n",
        "From a save to the sentence, with the workshop open, by `verdicts.py`.\n",
        "| verdict | goal, s | seconds | of the processor |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {most} | {seconds:.1f} | {spent:.1f} |"
            for name, most, seconds, spent in rows
        ),
    ]
    PAGE.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _processor_seconds() -> float:
    """Return the processor time of the processes that this one has started, in seconds so far."""
    times = [one.cpu_times() for one in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    main()

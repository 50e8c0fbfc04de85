"""Checks an exercise in a process of its own, and returns the outcome."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lessons.workshop import server
from lessons.workshop.catalogue import Lesson
from runtime.errors import UserError
from runtime.settings import ROOT

LIMIT_SECONDS = 90  # a check takes one to ten; only an endless loop takes so long
GRACE_SECONDS = 10  # for what not even the judge can end


@dataclass(frozen=True)
class Outcome:
    """What a check found: the key of a sentence and values for its gaps; no key: all is right."""

    key: str | None
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all is right."""
        return self.key is None


class Judge:
    """A process that checks exercises, started before it is needed: its imports take seconds."""

    def __init__(self, project: Path = ROOT) -> None:
        """Start the process, for the server that `start_server` has set up.

        `project` is the folder whose workshop it runs.
        """
        self._ready = False
        self._spoilt = False
        self._log = server.HOME / "judge.log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lessons.workshop.judge"],
                cwd=project,
                env={**os.environ, "LESSONS_JUDGE": "1", "PYTHONIOENCODING": "utf-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            )

    def check(
        self, lesson: Lesson, exercise: Path | None = None, limit_seconds: float = LIMIT_SECONDS
    ) -> Outcome:
        """Check a lesson's exercise, or another file in its place."""
        self.wait_until_ready()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            trace = Path(folder, "trace.txt")
            order = {
                "check": str(lesson.folder / "test_lesson.py"),
                "exercise": str(exercise or lesson.exercise),
                "folder": str(Path(folder, "check")),
                "trace": str(trace),
                "limit_seconds": limit_seconds,
            }
            killer = threading.Timer(limit_seconds + GRACE_SECONDS, self._process.kill)
            killer.start()
            answer = self._ask(json.dumps(order))
            killed = not killer.is_alive()
            killer.cancel()
            if answer:
                found = json.loads(answer)
                self._spoilt = found.pop("spoilt")
                return Outcome(**found)
            self._process.wait()
            where = trace.read_text("utf-8", "replace") if trace.exists() else ""
        stuck = re.search(re.escape(lesson.name) + r"[\\/]exercise\.py\", line (\d+)", where)
        if stuck:
            return Outcome("endless_at", {"line": stuck[1]})
        if where:  # time was up while the check waited for something else
            return Outcome("slow", {"seconds": str(round(limit_seconds))})
        return Outcome("endless" if killed else "ended")

    def wait_until_ready(self) -> None:
        """Wait until it has imported what checks need; raise `UserError` if it cannot."""
        assert self._process.stdout is not None
        if not self._ready and self._process.stdout.readline() != "ready\n":
            raise UserError(f"The check could not start; {self._log} says why.")
        self._ready = True

    def _ask(self, order: str) -> str:
        """Return the answer to an order; "" if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            print(order, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()

    @property
    def is_spent(self) -> bool:
        """Whether a check has ended the process, or spoilt something for the next one."""
        return self._spoilt or self._process.poll() is not None

    def kill(self) -> None:
        """Kill the process, whatever it is doing; a running check returns at once."""
        self._process.kill()

    def stop(self) -> None:
        """End the process, and wait until it has."""
        self.kill()
        self._process.communicate()

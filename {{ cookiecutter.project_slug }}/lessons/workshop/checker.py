"""Checks exercises one after the other; for the terminal in a thread, so that keys respond."""

import threading
import time
from collections.abc import Callable

from lessons.workshop.catalogue import Lesson
from lessons.workshop.checking import Judge, Outcome
from lessons.workshop.progress import fingerprint, keep
from runtime.errors import UserError
from runtime.server import Server, wait_until_ready

PATIENCE_SECONDS = 5  # a check that has taken longer gives way to a newer text


class Checks:
    """Checks one exercise after the other, with a judge that is started before it is needed."""

    def __init__(self, server: Server, tell: Callable[[Lesson, Outcome], None]) -> None:
        """Start the first judge; `tell` is called with each outcome."""
        self._server = server
        self._tell = tell
        self._judge = Judge()
        self._interrupted = False

    def check(self, lesson: Lesson) -> Outcome | None:
        """Check an exercise as it is now, and keep the outcome; None where it was interrupted."""
        self._interrupted = False
        checked = fingerprint(lesson)
        wait_until_ready(self._server)
        outcome = None
        try:
            outcome = self._judge.check(lesson)
        except UserError:
            if not self._interrupted:
                raise
        if self._interrupted or self._judge.is_spent:
            self._judge.stop()
            self._judge = Judge()
        if self._interrupted or outcome is None:
            return None
        if checked == fingerprint(lesson):
            keep(lesson, checked, outcome)
            self._tell(lesson, outcome)
        return outcome

    def interrupt(self) -> None:
        """End a running check at once."""
        self._interrupted = True
        self._judge.kill()

    def stop(self) -> None:
        """End the judge."""
        self._judge.stop()


class Checker(threading.Thread):
    """A thread that checks the exercise that was requested last."""

    def __init__(self, checks: Checks) -> None:
        """Take the checks to run; `start` begins."""
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self.done = 0  # checks so far
        self._checks = checks
        self._wanted: tuple[Lesson, str] | None = None
        self._busy_with: tuple[Lesson, str] | None = None
        self._since = 0.0
        self._stopping = False
        self._changed = threading.Condition()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to check."""
        with self._changed:
            return not self._wanted and not self._busy_with

    def want(self, lesson: Lesson) -> None:
        """Request a check of an exercise as it is now; end a check that already takes long."""
        wanted = (lesson, fingerprint(lesson))
        with self._changed:
            if wanted == self._busy_with:
                return
            self._wanted = wanted
            self._changed.notify()
            if self._busy_with and time.monotonic() - self._since > PATIENCE_SECONDS:
                self._checks.interrupt()

    def run(self) -> None:
        """Check until `stop` is called, or an error makes checks impossible."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._stopping)
                if self._stopping or not self._wanted:
                    return
                self._busy_with, self._wanted = self._wanted, None
                self._since = time.monotonic()
            try:
                self._checks.check(self._busy_with[0])
            except BaseException as error:
                self.error = error
                return
            with self._changed:
                self._busy_with = None
                self.done += 1

    def stop(self) -> None:
        """End the running check, the judge and the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._checks.interrupt()
        self.join(timeout=2)  # it may wait for a server that is still starting: leave it there
        self._checks.stop()

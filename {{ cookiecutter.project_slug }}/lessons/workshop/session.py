"""One session of the workshop: a server, the checks, and the reports to a class."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lessons.workshop import progress, screen
from lessons.workshop.catalogue import Lesson, fill, find_lessons, workshop_texts
from lessons.workshop.checker import Checks
from lessons.workshop.checking import Outcome
from lessons.workshop.server import start_server
from lessons.workshop.terminal import find_unknown, first_open


@contextmanager
def open_session(language: str, class_: str | None, name: str | None) -> Iterator[Checks]:
    """Yield the checks, which report each outcome to the class if there is one."""
    texts = workshop_texts(language)
    reporter = None
    if class_ is not None or name is not None:
        from lessons.workshop.classroom import Reporter, client_for, student_name

        # Read before the server starts, which removes Prefect's settings from the environment.
        client = client_for(class_ or "", os.environ.get("PREFECT_API_AUTH_STRING"), texts)
        reporter = Reporter(client, student_name(name, texts))
        # Whoever joins late has solved some already, which no check reports any more.
        for lesson in filter(progress.is_solved, find_lessons()):
            reporter.report(lesson, Outcome(None))

    def tell(lesson: Lesson, outcome: Outcome) -> None:
        # A lesson that was only opened was not tried.
        if reporter and (outcome.passed or not progress.is_as_delivered(lesson)):
            reporter.report(lesson, outcome)

    server = start_server()
    if sys.stdout.isatty():
        print(texts["server"], flush=True)
    checks = Checks(server, tell)
    try:
        yield checks
    finally:
        checks.stop()
        if reporter and (left := reporter.stop(lambda: print(texts["sending"], flush=True))):
            print(fill(texts[f"kept_{reporter.reason}"], {"number": left}))


def show_once(checks: Checks, language: str) -> None:
    """Check what is not known yet, print the first open lesson, and exit with 1 if one is open."""
    lessons = find_lessons()
    while unknown := find_unknown(lessons):
        checks.check(unknown)
    current = first_open(lessons)
    if progress.outcome_of(current) is None:
        checks.check(current)
    print(screen.progress_line(lessons, language))
    for part in screen.lesson_parts(current, progress.outcome_of(current), 0, "", language):
        print(part.content.plain)
    if not all(map(progress.is_solved, lessons)):
        sys.exit(1)

"""`python main.py lessons ...`: the workshop's commands."""

import os
import runpy
import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from flows.server import use_server, wait_until_ready
from lessons.workshop import catalogue
from lessons.workshop.catalogue import Lesson, fill, find_lesson, find_lessons

Language = Annotated[Literal["en", "pt-BR"] | None, Parameter(help="Language of the sentences.")]

app = App(name="lessons", help="Learn Prefect in lessons that check themselves.")


@app.command
def check(number: int | None = None, *, language: Language = None) -> None:
    """Check the exercise of one lesson, or of all, and say the first thing that is not right yet.

    Parameters
    ----------
    number
        Number of the lesson; all where it is left out.
    """
    lessons = [find_lesson(number)] if number else find_lessons()
    chosen = language or catalogue.chosen_language()
    texts = catalogue.workshop_texts(chosen)
    from lessons.workshop.checking import Judge
    from lessons.workshop.server import HOME, start_server

    if not (HOME / "prefect.db").exists():
        print(texts["server"], flush=True)
    server = start_server()
    still_open = 0
    judge = Judge()
    try:
        for lesson in lessons:
            wait_until_ready(server)
            outcome = judge.check(lesson)
            judge.stop()
            if lesson != lessons[-1]:
                judge = Judge()
            heading = texts["right" if outcome.passed else "open"]
            print(fill(heading, {"title": _title(lesson, chosen)}), flush=True)
            if outcome.key:
                still_open += 1
                print(f"  {lesson.sentence(outcome.key, outcome.values, chosen)}", flush=True)
    finally:
        judge.stop()
    if still_open:
        sys.exit(1)


@app.command(name="list")
def list_lessons(*, language: Language = None) -> None:
    """List the lessons."""
    chosen = language or catalogue.chosen_language()
    for lesson in find_lessons():
        print(_title(lesson, chosen))


@app.command
def hint(number: int, *, language: Language = None) -> None:
    """Say what helps with a lesson.

    Parameters
    ----------
    number
        Number of the lesson.
    """
    for text in find_lesson(number).texts(language or catalogue.chosen_language())["hints"]:
        print(text)


@app.command
def run(number: int) -> None:
    """Run the exercise of a lesson; an open dashboard (`python main.py ui`) shows the run.

    Parameters
    ----------
    number
        Number of the lesson.
    """
    lesson = find_lesson(number)
    # A task may be called outside a flow, and its log then belongs to no run.
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    wait_until_ready(use_server())
    runpy.run_path(str(lesson.exercise), run_name="__main__")


def _title(lesson: Lesson, language: str) -> str:
    return f"{lesson.number} {lesson.texts(language)['title']}"

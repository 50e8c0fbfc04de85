"""`python main.py lessons ...`: the workshop's commands."""

import os
import runpy
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from lessons.workshop import catalogue
from lessons.workshop.catalogue import fill, find_lesson, find_lessons
from runtime.server import use_server, wait_until_ready
from runtime.settings import ROOT

# Slow imports are made where they are used: `--help` answers at once.
Language = Annotated[Literal["en", "pt-BR"] | None, Parameter(help="Language of the sentences.")]
Class = Annotated[
    str | None,
    Parameter("--class", help="Address of the teacher's Prefect server, to report checks to."),
]
Name = Annotated[str | None, Parameter(help="Your name in the class.")]

app = App(name="lessons", help="Learn Prefect in lessons that check themselves.")


@app.default
def watch(
    *,
    once: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
    language: Language = None,
    class_: Class = None,
    name: Name = None,
) -> None:
    """Open the workshop: each time an exercise is saved, say what is not right in it yet.

    Parameters
    ----------
    once
        Look at the lessons once, and print where you are.
    plain
        Print line by line, for a screen reader; keys are typed with Enter.
    """
    from rich.console import Console

    from lessons.workshop.checker import Checker
    from lessons.workshop.plain import PlainTerminal
    from lessons.workshop.session import open_session, show_once
    from lessons.workshop.terminal import Terminal

    chosen = _language(language)
    console = Console(highlight=False)
    environment = dict(os.environ)  # before the session removes Prefect's settings
    with open_session(chosen, class_, name) as checks:
        knows_keys = sys.stdin.isatty() and not console.is_dumb_terminal
        if once or not (plain or (knows_keys and console.is_terminal)):
            show_once(checks, chosen)
            return
        checker = Checker(checks)
        checker.start()
        try:
            terminal = PlainTerminal if plain else Terminal
            terminal(find_lessons(), chosen, checker, console, environment).watch()
        finally:
            checker.stop()


@app.command
def check(
    number: int | None = None,
    *,
    language: Language = None,
    class_: Class = None,
    name: Name = None,
) -> None:
    """Check the exercise of one lesson, or of all, and say the first thing that is not right yet.

    Parameters
    ----------
    number
        Number of the lesson; all lessons by default.
    """
    from lessons.workshop.session import open_session

    chosen = _language(language)
    lessons = [find_lesson(number, chosen)] if number is not None else find_lessons()
    texts = catalogue.workshop_texts(chosen)
    still_open = 0
    with open_session(chosen, class_, name) as checks:
        for lesson in lessons:
            outcome = checks.check(lesson)
            assert outcome is not None  # nothing interrupts it here
            heading = texts["right" if outcome.passed else "open"]
            print(fill(heading, {"title": lesson.heading(chosen)}), flush=True)
            if outcome.key:
                still_open += 1
                print(f"  {lesson.sentence(outcome.key, outcome.values, chosen)}", flush=True)
    if still_open:
        sys.exit(1)


@app.command(name="list")
def list_lessons(*, language: Language = None) -> None:
    """List the lessons, and which of them are solved."""
    from lessons.workshop import screen

    for lesson in find_lessons():
        print(screen.line_of(lesson, _language(language)).plain.strip())


@app.command
def hint(number: int, many: int = 1, *, language: Language = None) -> None:
    """Say what helps with a lesson.

    Parameters
    ----------
    number
        Number of the lesson.
    many
        How many hints; each one says more.
    """
    chosen = _language(language)
    hints = find_lesson(number, chosen).texts(chosen)["hints"]
    template = catalogue.workshop_texts(chosen)["hint"]
    for place, text in enumerate(hints[: max(many, 1)], start=1):
        print(fill(template, {"number": place, "all": len(hints), "hint": text}))


@app.command
def solve(
    number: int,
    *,
    write: Annotated[bool, Parameter(negative="")] = False,
    language: Language = None,
) -> None:
    """Show the solution of a lesson.

    Parameters
    ----------
    number
        Number of the lesson.
    write
        Make it the exercise; your own file is kept next to it.
    """
    lesson = find_lesson(number, _language(language))
    if not write:
        print(lesson.solution.read_text(encoding="utf-8"), end="")
        return
    from lessons.workshop.progress import put_in_place

    print(put_in_place(lesson, lesson.solution, _language(language)))


@app.command
def reset(number: int, *, language: Language = None) -> None:
    """Put an exercise back as it was; your own file is kept next to it.

    Parameters
    ----------
    number
        Number of the lesson.
    """
    from lessons.workshop.progress import put_in_place

    lesson = find_lesson(number, _language(language))
    print(put_in_place(lesson, lesson.original, _language(language)))


@app.command
def report(*, language: Language = None) -> None:
    """Write when each lesson was solved to reports/lessons.md, and print it."""
    from lessons.workshop.reports import write_report

    print(write_report(_language(language)))


@app.command(name="class")
def show_class(server: str | None = None, *, language: Language = None) -> None:
    """Show who has solved what, and write it to reports/class.csv.

    Parameters
    ----------
    server
        Address of the API of the class's Prefect server; by default PREFECT_API_URL, else a server
        on this machine.
    """
    from lessons.workshop.reports import write_class

    print(write_class(server, _language(language)))


@app.command
def submit(*, name: Name = None, language: Language = None) -> None:
    """Write the exercises that you have begun to a zip for your teacher."""
    from lessons.workshop.submission import write_submission

    print(write_submission(name, _language(language)).relative_to(ROOT))


@app.command
def grade(
    folder: Path,
    *,
    limit_seconds: Annotated[float, Parameter(validator=Number(gt=0), help="For each check.")] = 60,
    language: Language = None,
) -> None:
    """Check the zips in a folder, running what is in them; write reports/grades.csv and .html."""
    from lessons.workshop.grading import grade_all
    from runtime.cli import STARTED_IN

    for line in grade_all(STARTED_IN / folder, _language(language), limit_seconds):
        print(line, flush=True)


@app.command
def wheelhouse(
    systems: list[Literal["windows", "macos", "macos-intel", "linux"]],
    /,
    *,
    python: Literal["3.11", "3.12", "3.13", "3.14"] = "3.12",
    language: Language = None,
) -> None:
    """Download the packages for laptops without a network, of these systems, into wheelhouse/."""
    from lessons.workshop.wheelhouse import download

    for system in systems:
        download(system, python, catalogue.workshop_texts(_language(language)))


@app.command
def new(name: str, *, language: Language = None) -> None:
    """Write the files of a lesson of your own, such as own_data, after the last one."""
    from lessons.workshop.scaffold import write_lesson

    print(write_lesson(name, _language(language)).folder.relative_to(ROOT))


@app.command
def run(number: int, *, language: Language = None) -> None:
    """Run the exercise of a lesson; an open dashboard (`python main.py ui`) shows the run.

    Parameters
    ----------
    number
        Number of the lesson.
    """
    lesson = find_lesson(number, _language(language))
    # A task may be called outside a flow, and its log then belongs to no run.
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    wait_until_ready(use_server())
    runpy.run_path(str(lesson.exercise), run_name="__main__")


def _language(chosen: str | None) -> str:
    return chosen or catalogue.chosen_language()

"""What was solved when: one student's page, and the table of a class."""

import csv
import io
import os
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lessons.workshop import progress
from lessons.workshop.catalogue import fill, find_lessons, workshop_texts
from lessons.workshop.classroom import Report, client_for, read_reports
from runtime.errors import UserError
from runtime.server import find
from runtime.settings import ROOT

PAGE = ROOT / "reports" / "lessons.md"
CLASS = ROOT / "reports" / "class.csv"
STARTS_A_FORMULA = ("=", "+", "-", "@", "\t")  # in a spreadsheet


def write_report(language: str) -> str:
    """Write and return, in Markdown, which lessons are solved since when."""
    texts, lessons = workshop_texts(language), find_lessons()
    values = {"solved": sum(map(progress.is_solved, lessons)), "all": len(lessons)}
    lines = [
        f"# {texts['report_title']}",
        "",
        fill(texts["progress"], values),
        "",
        f"| {texts['column_lesson']} | {texts['column_state']} | {texts['column_time']} |",
        "| --- | --- | --- |",
    ]
    for lesson in lessons:
        when = progress.solved_at(lesson)
        state = texts["solved" if when else "not_solved"]
        lines.append(f"| {lesson.heading(language)} | {state} | {_local(when) if when else ''} |")
    text = "\n".join(lines)
    _write(PAGE, f"{text}\n")
    return text


def write_class(api_url: str | None, language: str) -> str:
    """Write the class to a CSV file, and return it as a table: a row for each student.

    Raises `UserError` where the server does not answer or refuses.
    """
    texts = workshop_texts(language)
    running = find()
    address = (
        api_url
        or os.environ.get("PREFECT_API_URL")
        or (running.api_url if running else None)
        or "http://127.0.0.1:4200/api"
    )
    client = client_for(address, os.environ.get("PREFECT_API_AUTH_STRING"), texts)
    try:
        reports = list(read_reports(client))
    except httpx.HTTPStatusError as error:
        key = "class_refused" if error.response.status_code in (401, 403) else "class_away"
        raise UserError(fill(texts[key], {"address": address})) from error
    except httpx.HTTPError as error:
        raise UserError(fill(texts["class_away"], {"address": address})) from error
    found = _by_student(reports)
    _write(CLASS, _as_csv(found))
    where = fill(texts["class_file"], {"file": CLASS.relative_to(ROOT)})
    return f"{_as_table(found, texts)}{texts['class_legend']}\n{where}"


def _by_student(reports: list[Report]) -> dict[str, dict[str, list[Report]]]:
    """Return the reports of each student of each lesson, sorted by name and time."""
    found: dict[str, dict[str, list[Report]]] = defaultdict(lambda: defaultdict(list))
    for report in sorted(reports, key=lambda one: (one.student.casefold(), one.time)):
        found[report.student][report.lesson].append(report)
    return found


def _as_table(found: dict[str, dict[str, list[Report]]], texts: dict[str, Any]) -> str:
    table = Table(texts["column_student"], box=None, pad_edge=False)
    lessons = sorted({lesson for one in found.values() for lesson in one})
    for lesson in lessons:
        table.add_column(Text(lesson[:2].lstrip("0")), justify="right", no_wrap=True)
    for student, one in found.items():
        table.add_row(Text(student), *(_cell(one.get(lesson, [])) for lesson in lessons))
    console = Console(file=io.StringIO(), width=40 + 5 * len(lessons), color_system=None)
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _cell(reports: list[Report]) -> Text:
    """Return `ok`, or how often an open exercise was checked."""
    solved = any(report.outcome == "right" for report in reports)
    return Text("ok" if solved else str(len(reports) or ""))


def _as_csv(found: dict[str, dict[str, list[Report]]]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["student", "lesson", "checks", "solved_at", "last_check_at"])
    for student, one in found.items():
        name = f"'{student}" if student.startswith(STARTS_A_FORMULA) else student
        for lesson, reports in sorted(one.items()):
            right = [report.time for report in reports if report.outcome == "right"]
            first = right[0] if right else ""
            rows.writerow([name, lesson, len(reports), first, reports[-1].time])
    return text.getvalue()


def _local(when: datetime) -> str:
    return f"{when.replace(tzinfo=when.tzinfo or UTC).astimezone():%Y-%m-%d %H:%M}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The mark in front tells Excel that this is UTF-8.
    path.write_text(text, encoding="utf-8-sig" if path.suffix == ".csv" else "utf-8")

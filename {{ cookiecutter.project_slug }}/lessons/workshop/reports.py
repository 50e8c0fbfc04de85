"""When each lesson was solved: one student's page, and the table of a class."""

import contextlib
import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lessons.workshop import progress
from lessons.workshop.catalogue import fill, find_lessons, workshop_texts
from lessons.workshop.classroom import JOINED, Report, client_for, read_reports, reason
from lessons.workshop.screen import progress_line
from runtime.errors import UserError
from runtime.server import find
from runtime.settings import ROOT

PAGE = ROOT / "reports" / "lessons.md"
CLASS = ROOT / "reports" / "class.csv"
IDLE_MINUTES = 15  # without a check; a lesson takes ten
MOST_FINDINGS = 5
STARTS_A_FORMULA = ("=", "+", "-", "@", "\t")  # in a spreadsheet


def write_report(language: str) -> str:
    """Write when each lesson was solved to reports/lessons.md; return its text, in Markdown."""
    texts, lessons = workshop_texts(language), find_lessons()
    lines = [
        f"# {texts['report_title']}",
        "",
        progress_line(lessons, language),
        "",
        f"| {texts['column_lesson']} | {texts['column_state']} | {texts['column_time']} |",
        "| --- | --- | --- |",
    ]
    for lesson in lessons:
        when = progress.solved_at(lesson)
        state = texts["solved" if when else "not_solved"]
        lines.append(f"| {lesson.heading(language)} | {state} | {_local(when) if when else ''} |")
    text = "\n".join(lines)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(f"{text}\n", encoding="utf-8")
    return text


def write_class(api_url: str | None, language: str) -> str:
    """Write the class to a CSV file, and return it as a table: a row for each student.

    Raises `UserError` where the server does not answer, or not as it should.
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
    except (httpx.HTTPError, ValueError) as error:
        raise UserError(fill(texts[f"class_{reason(error)}"], {"address": address})) from error
    found = _by_student(reports)
    write_csv(CLASS, _rows(found))
    where = fill(texts["class_file"], {"file": CLASS.relative_to(ROOT)})
    lines = [texts["class_legend"], *_where_help_is_due(found, texts, language), where]
    return _as_table(found, texts) + "\n".join(lines)


def _by_student(reports: list[Report]) -> dict[str, dict[str, list[Report]]]:
    """Return the reports by student and lesson, sorted by name and time."""
    found: dict[str, dict[str, list[Report]]] = defaultdict(lambda: defaultdict(list))
    for report in sorted(reports, key=lambda report: (report.student.casefold(), report.time)):
        found[report.student][report.lesson].append(report)
    return found


def _as_table(found: dict[str, dict[str, list[Report]]], texts: dict[str, Any]) -> str:
    table = Table(texts["column_student"], box=None, pad_edge=False)
    lessons = sorted({lesson for by_lesson in found.values() for lesson in by_lesson} - {JOINED})
    for lesson in lessons:
        table.add_column(Text(lesson[:2].lstrip("0")), justify="right", no_wrap=True)
    for student, by_lesson in found.items():
        table.add_row(Text(student), *(_cell(by_lesson.get(lesson, [])) for lesson in lessons))
    console = Console(file=io.StringIO(), width=40 + 5 * len(lessons), color_system=None)
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _cell(reports: list[Report]) -> Text:
    """Return `ok`, or how often an open exercise was checked."""
    solved = any(report.outcome == "right" for report in reports)
    return Text("ok" if solved else str(len(reports) or ""))


def _where_help_is_due(
    found: dict[str, dict[str, list[Report]]], texts: dict[str, Any], language: str
) -> Iterator[str]:
    """Yield where many students are stuck, who has checked nothing yet, and who is idle."""
    lessons = {lesson.name: lesson for lesson in find_lessons()}
    stuck: Counter[tuple[str, str]] = Counter()
    for by_lesson in found.values():
        for name, reports in by_lesson.items():
            if name in lessons and _cell(reports).plain != "ok":
                stuck[name, reports[-1].finding] += 1
    for (name, key), number in stuck.most_common(MOST_FINDINGS):
        with contextlib.suppress(LookupError):  # a finding of another release
            # Only its key was sent: the gaps have no values.
            sentence = re.sub(r"{\w+}", "…", lessons[name].sentence(key, {}, language))
            values = {"number": number, "all": len(found), "sentence": sentence}
            yield fill(texts["class_stuck"], values | {"lesson": lessons[name].number})
    nothing = [student for student, by_lesson in found.items() if set(by_lesson) == {JOINED}]
    if nothing:
        yield fill(texts["class_nothing"], {"students": ", ".join(nothing)})
    since = (datetime.now(UTC) - timedelta(minutes=IDLE_MINUTES)).isoformat()
    idle = [
        student
        for student, by_lesson in found.items()
        if student not in nothing
        and max(each.received for all_ in by_lesson.values() for each in all_) < since
    ]
    if idle:
        yield fill(texts["class_idle"], {"minutes": IDLE_MINUTES, "students": ", ".join(idle)})


def _rows(found: dict[str, dict[str, list[Report]]]) -> Iterator[list[str]]:
    yield ["student", "lesson", "checks", "solved_at", "last_check_at", "finding"]
    for student, by_lesson in found.items():
        for lesson, reports in sorted(by_lesson.items()):
            right = [report.time for report in reports if report.outcome == "right"]
            checks = "0" if lesson == JOINED else str(len(reports))
            finding = "" if right else reports[-1].finding
            yield [student, lesson, checks, next(iter(right), ""), reports[-1].time, finding]


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows of texts so that Excel reads them as UTF-8 and none as a formula."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in rows:
            writer.writerow(
                [f"'{cell}" if cell.startswith(STARTS_A_FORMULA) else cell for cell in row]
            )


def _local(when: datetime) -> str:
    return f"{when.replace(tzinfo=when.tzinfo or UTC).astimezone():%Y-%m-%d %H:%M}"

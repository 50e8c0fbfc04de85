"""Grades a class's submissions with the teacher's own checks, into a CSV file and a page.

Nothing in a zip is trusted. Each exercise is checked in a process and a copy of the project of its
own, which both end with the check: no other check sees what it writes there. It still runs with
the rights of whoever grades; the page for teachers says what follows from that.
"""

import html
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from lessons.workshop.catalogue import FOLDER, Lesson, fill, find_lessons, workshop_texts
from lessons.workshop.checking import GRACE_SECONDS, Judge, Outcome
from lessons.workshop.reports import write_csv
from lessons.workshop.server import start_server
from lessons.workshop.submission import Submission, read_submission
from runtime.errors import UserError, printable
from runtime.server import wait_until_ready
from runtime.settings import ROOT

GRADES = ROOT / "reports" / "grades.csv"
PAGE = GRADES.with_suffix(".html")
PARTS = ["data/raw", "flows", "lessons", "ml", "runtime"]
PARTS += ["params.json", "prefect.toml", "pyproject.toml"]
NOT_COPIED = shutil.ignore_patterns("solution.py", "*.bak")
START_SECONDS = 120  # of a judge on a busy machine
LONGEST_SENTENCE = 500


@dataclass(frozen=True)
class Grade:
    """The result of grading one zip."""

    file: str
    submission: Submission
    sentences: dict[str, str]  # for each lesson in the zip the sentence, "" where it is solved

    @property
    def points(self) -> int:
        """How many lessons are solved."""
        return sum(not sentence for sentence in self.sentences.values())

    def heading(self, texts: dict[str, Any]) -> str:
        """Return student, file and points in a line."""
        values = {"student": self.submission.student, "file": self.file, "solved": self.points}
        return fill(texts["graded"], values)


def grade_all(folder: Path, language: str, limit_seconds: float) -> Iterator[str]:
    """Grade each zip in a folder and its subfolders; yield a line for each, and one at the end.

    The files are written after each student. Raises `UserError` if the folder has no zip, and if
    checks cannot be started.
    """
    texts, lessons = workshop_texts(language), {lesson.name: lesson for lesson in find_lessons()}
    files = sorted(folder.rglob("*.zip"))
    if not files:
        raise UserError(fill(texts["no_submissions"], {"folder": folder}))
    wait_until_ready(start_server())
    grades: list[Grade] = []
    for file in files:
        submission, sentences = read_submission(file), {}
        for name, content in submission.exercises.items():
            if content is None:
                sentences[name] = texts["damaged_exercise"]
            else:
                outcome = _check(name, content, limit_seconds)
                sentences[name] = _sentence(lessons[name], outcome, language)
        grades.append(Grade(printable(file.relative_to(folder).as_posix()), submission, sentences))
        _write(grades, list(lessons), texts, language)
        yield grades[-1].heading(texts)
    values = {"file": GRADES.relative_to(ROOT), "page": PAGE.relative_to(ROOT)}
    yield fill(texts["grades_files"], values)


def _check(name: str, content: bytes, limit_seconds: float) -> Outcome:
    """Return the outcome of checking an exercise; raise `UserError` if the check cannot start."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project, exercise = Path(folder, "project"), Path(folder, "exercise.py")
        exercise.write_bytes(content)
        for part in PARTS:
            (project / part).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, project / part, ignore=NOT_COPIED)
            else:
                shutil.copy(ROOT / part, project / part)
        judge, found = Judge(project), list[Outcome | Exception]()

        def ask() -> None:
            try:
                lesson = Lesson(project / "lessons" / name)
                found.append(judge.check(lesson, exercise, limit_seconds))
            except (UserError, LookupError, TypeError, ValueError) as error:
                found.append(error)

        # A process that an exercise has started may keep the judge's pipe open: do not wait for it.
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(START_SECONDS + limit_seconds + 2 * GRACE_SECONDS)
        judge.kill()
    outcome = found[0] if found else Outcome("endless")
    if isinstance(outcome, UserError):
        raise outcome
    # Any other error comes from an answer that the exercise has written in place of the judge's.
    return outcome if isinstance(outcome, Outcome) else Outcome("ended")


def _sentence(lesson: Lesson, outcome: Outcome, language: str) -> str:
    if outcome.key is None:
        return ""
    try:
        text = lesson.sentence(outcome.key, outcome.values, language)
    except (LookupError, TypeError):  # the exercise has answered in the judge's place
        text = lesson.sentence("ended", {}, language)
    return printable(text, LONGEST_SENTENCE)


def _write(
    grades: Sequence[Grade], lessons: Sequence[str], texts: dict[str, Any], language: str
) -> None:
    rows, students = [["student", "file", "points", *lessons, "feedback"]], []
    for grade in grades:
        damage = "" if grade.submission.is_zip else texts["no_submission"]
        marks = [
            str(int(not grade.sentences[lesson])) if lesson in grade.sentences else ""
            for lesson in lessons
        ]
        still_open = [
            f"{lesson}: {sentence}" for lesson, sentence in grade.sentences.items() if sentence
        ]
        feedback = damage or " | ".join(still_open)
        rows.append([grade.submission.student, grade.file, str(grade.points), *marks, feedback])
        students.append(f"<h2>{html.escape(grade.heading(texts))}</h2>{damage}")
        for lesson, sentence in grade.sentences.items():
            code = (grade.submission.exercises[lesson] or b"").decode("utf-8", "replace")
            summary = html.escape(f"{lesson}: {sentence or texts['solved']}")
            students.append(f"<details><summary>{summary}</summary>")
            students.append(f"<pre>{html.escape(code)}</pre></details>")
    write_csv(GRADES, rows)
    page = Template((FOLDER / "workshop" / "grades.html").read_text(encoding="utf-8"))
    values = {"language": language, "title": texts["grades_title"], "students": "\n".join(students)}
    PAGE.write_text(page.substitute(values), encoding="utf-8")

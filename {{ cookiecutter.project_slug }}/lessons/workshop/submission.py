"""The zip that a student hands in: written on a laptop, and treated elsewhere as untrusted."""

import json
import platform
import re
import zipfile
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lessons.workshop import progress
from lessons.workshop.catalogue import find_lessons, workshop_texts
from lessons.workshop.classroom import student_name
from runtime.errors import UserError, printable
from runtime.settings import ROOT

ABOUT = "submission.json"
PACKAGES = ("prefect", "pandas", "scikit-learn")
LARGEST_ZIP, LARGEST_FILE = 5_000_000, 200_000  # bytes; an exercise has about 2,000
LONGEST_IN_FILE_NAME = 40
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may fill the memory from a few bytes
DAMAGES = (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError)


@dataclass(frozen=True)
class Submission:
    """What a student has handed in; an exercise that cannot be read is None."""

    student: str
    exercises: dict[str, bytes | None]  # by the lesson's name
    is_zip: bool = True


def write_submission(name: str | None, language: str) -> Path:
    """Write all exercises that were begun to a zip in `reports/`; return its path.

    Raises `UserError` for an invalid name, and if no exercise was begun.
    """
    texts = workshop_texts(language)
    student = student_name(name, texts)
    lessons = [lesson for lesson in find_lessons() if lesson.exercise.exists()]
    started = [lesson for lesson in lessons if not progress.is_as_delivered(lesson)]
    if not started:
        raise UserError(texts["nothing_to_submit"])
    times = {
        lesson.name: when.isoformat() for lesson in started if (when := progress.solved_at(lesson))
    }
    versions = {
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    about = {"student": student, "solved_at": times, "versions": versions}
    in_file_name = re.sub(r"[^\w-]+", "-", student)[:LONGEST_IN_FILE_NAME]
    path = ROOT / "reports" / f"submission-{in_file_name}.zip"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(ABOUT, json.dumps(about, indent=2))
        for lesson in started:
            archive.write(lesson.exercise, f"{lesson.name}/exercise.py")
    return path


def read_submission(path: Path) -> Submission:
    """Return the student and the exercises in a zip; without a valid name, that of the file.

    Only members with the names of known lessons are read, at most `LARGEST_FILE` bytes of each.
    """
    try:
        if path.stat().st_size > LARGEST_ZIP:
            return Submission(printable(path.stem), {}, is_zip=False)
        with zipfile.ZipFile(path) as archive:
            wanted = {f"{lesson.name}/exercise.py": lesson.name for lesson in find_lessons()}
            members = set(archive.namelist())
            about = _read(archive, ABOUT) if ABOUT in members else None
            found = {wanted[name]: _read(archive, name) for name in wanted if name in members}
    except DAMAGES:
        return Submission(printable(path.stem), {}, is_zip=False)
    try:
        student = student_name(json.loads(about or b"")["student"], {"no_name": ""})
    except (UserError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        student = printable(path.stem)
    return Submission(student, found)


def _read(archive: zipfile.ZipFile, member: str) -> bytes | None:
    try:
        info = archive.getinfo(member)
        with archive.open(info) as file:
            content = file.read(LARGEST_FILE + 1) if info.compress_type in PACKED else b""
    except DAMAGES:
        return None
    return content if 0 < len(content) <= LARGEST_FILE else None

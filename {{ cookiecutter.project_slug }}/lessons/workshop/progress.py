"""The outcome of the last check of each exercise, kept until the exercise changes.

Only checks decide: an outcome counts for exactly the text that was checked, so whoever edits,
resets or deletes an exercise has to pass its check again.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lessons.workshop import server
from lessons.workshop.catalogue import Lesson, fill, workshop_texts
from lessons.workshop.checking import Outcome
from runtime.errors import UserError
from runtime.settings import ROOT


def fingerprint(lesson: Lesson) -> str:
    """Return a hash in hex digits of the exercise and its check."""
    digest = hashlib.sha256()
    for path in (lesson.exercise, lesson.folder / "test_lesson.py"):
        with contextlib.suppress(OSError):
            digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


def outcome_of(lesson: Lesson) -> Outcome | None:
    """Return the outcome for the exercise as it is now; None if it was not checked."""
    entry = _read().get(lesson.name, {})
    if entry.get("fingerprint") != fingerprint(lesson):
        return None
    return Outcome(entry["key"], entry["values"])


def is_solved(lesson: Lesson) -> bool:
    """Return whether the exercise as it is now has passed its check."""
    outcome = outcome_of(lesson)
    return outcome is not None and outcome.passed


def solved_at(lesson: Lesson) -> datetime | None:
    """Return when a solved lesson first passed its check, in UTC; None for an open one."""
    when = _read().get(lesson.name, {}).get("solved_at")
    return datetime.fromisoformat(when) if when and is_solved(lesson) else None


def keep(lesson: Lesson, checked: str, outcome: Outcome) -> None:
    """Keep an outcome for the text with the fingerprint `checked`."""
    everything = _read()
    first = everything.get(lesson.name, {}).get("solved_at")
    if outcome.passed and not first:
        first = datetime.now(UTC).isoformat(timespec="seconds")
    everything[lesson.name] = {
        "fingerprint": checked,
        "key": outcome.key,
        "values": outcome.values,
        "solved_at": first,
    }
    _place().parent.mkdir(parents=True, exist_ok=True)
    aside = _place().with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(everything, indent=2), encoding="utf-8")
    aside.replace(_place())


def is_as_delivered(lesson: Lesson) -> bool:
    """Return whether the exercise is still unchanged: then it need not be checked."""
    try:
        return lesson.original.read_bytes() == lesson.exercise.read_bytes()
    except OSError:
        return False


def put_in_place(lesson: Lesson, source: Path, language: str) -> str:
    """Replace the exercise by a copy of `source`; return a sentence on where the old file is kept.

    Raises `UserError` where there is no `source`.
    """
    texts = workshop_texts(language)
    if not source.exists():
        raise UserError(fill(texts["no_original"], {"file": source.relative_to(ROOT)}))
    if not lesson.exercise.exists() or lesson.exercise.read_bytes() == source.read_bytes():
        shutil.copyfile(source, lesson.exercise)
        return str(texts["put_back"])
    backup = next(path for path in _names_to_keep(lesson) if not path.exists())
    lesson.exercise.replace(backup)
    shutil.copyfile(source, lesson.exercise)
    return fill(texts["kept"], {"file": backup.relative_to(ROOT)})


def _names_to_keep(lesson: Lesson) -> Iterator[Path]:
    number = 1
    while True:
        yield lesson.folder / f"exercise.{number}.bak"
        number += 1


def _place() -> Path:
    return server.HOME / "progress.json"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_place().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

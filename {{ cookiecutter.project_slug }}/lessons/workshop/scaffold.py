"""Writes the files of a new lesson to start from, which pass their own check."""

import re
import shutil

from lessons.workshop.catalogue import FOLDER, Lesson, fill, find_lessons, workshop_texts
from runtime.errors import UserError, printable

SKELETON = FOLDER / "workshop" / "skeleton"
LONGEST_NAME = 30


def write_lesson(name: str, language: str) -> Lesson:
    """Write the seven files of a lesson after the last one, and the copy that `reset` takes.

    Raises `UserError` for an invalid name, and for that of an existing lesson.
    """
    lessons = find_lessons()
    if (
        not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        or len(name) > LONGEST_NAME
        or name in [lesson.name[3:] for lesson in lessons]
    ):
        values = {"name": printable(name), "longest": LONGEST_NAME}
        raise UserError(fill(workshop_texts(language)["no_lesson_name"], values))
    number = lessons[-1].number + 1
    lesson = Lesson(FOLDER / f"{number:02}_{name}")
    lesson.folder.mkdir()
    title = name.replace("_", " ").capitalize()
    values = {"name": lesson.name, "number": number, "title": title}
    for file in SKELETON.glob("*.txt"):
        # The sentences have a gap `name` of their own, which stays open.
        known = {**values, "name": "{name}"} if file.stem.endswith(".toml") else values
        text = fill(file.read_text(encoding="utf-8"), known)
        (lesson.folder / file.stem).write_text(text, encoding="utf-8", newline="\n")
    lesson.original.parent.mkdir(exist_ok=True)
    shutil.copyfile(lesson.exercise, lesson.original)
    return lesson

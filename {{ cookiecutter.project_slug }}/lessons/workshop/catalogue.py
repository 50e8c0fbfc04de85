"""The lessons, and their texts in two languages."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.settings import ROOT

FOLDER = ROOT / "lessons"
LANGUAGES = ("en", "pt-BR")


@dataclass(frozen=True)
class Lesson:
    """A folder such as `01_tasks`, with the files of one lesson."""

    folder: Path

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return int(self.folder.name[:2])

    @property
    def name(self) -> str:
        """Its name, such as `01_tasks`."""
        return self.folder.name

    @property
    def exercise(self) -> Path:
        """The student's file."""
        return self.folder / "exercise.py"

    @property
    def solution(self) -> Path:
        """One file that passes the check."""
        return self.folder / "solution.py"

    @property
    def original(self) -> Path:
        """The exercise as it came with the project, put there by the template's hook."""
        return FOLDER / "workshop" / "originals" / f"{self.name}.txt"

    def heading(self, language: str) -> str:
        """Return its number and its title."""
        return f"{self.number} {self.texts(language)['title']}"

    def page(self, language: str) -> Path:
        """Return the page to read."""
        return self.folder / ("LESSON.md" if language == "en" else f"LESSON.{language}.md")

    def texts(self, language: str) -> dict[str, Any]:
        """Return `title`, `task`, `hints` and `findings`: sentences by their keys."""
        return _read(self.folder / f"texts.{language}.toml")

    def sentence(self, key: str, values: dict[str, Any], language: str) -> str:
        """Return the sentence of a finding: the lesson's own, or the one for all lessons.

        A sentence about a line of the exercise begins with the line's number.
        """
        texts = workshop_texts(language)
        text = (texts["findings"] | self.texts(language)["findings"])[key]
        if "line" in values and "{line}" not in text:
            text = texts["at_line"] + text
        return fill(text, {"lesson": self.name, "number": self.number} | values)


def find_lessons() -> list[Lesson]:
    """Return all lessons, in their order."""
    return [Lesson(folder) for folder in sorted(FOLDER.glob("[0-9][0-9]_*")) if folder.is_dir()]


def find_lesson(number: int, language: str) -> Lesson:
    """Return a lesson by its number; raise `UserError` for one that does not exist."""
    lessons = {lesson.number: lesson for lesson in find_lessons()}
    if number not in lessons:
        values = {"number": number, "known": ", ".join(map(str, lessons))}
        raise UserError(fill(workshop_texts(language)["no_lesson"], values))
    return lessons[number]


def workshop_texts(language: str) -> dict[str, Any]:
    """Return the sentences of the workshop itself, and the findings of all lessons."""
    return _read(FOLDER / "workshop" / f"texts.{language}.toml")


def chosen_language() -> str:
    """Return the language that was chosen when the project was made."""
    language = str(_read(FOLDER / "workshop" / "settings.toml").get("language"))
    return language if language in LANGUAGES else "en"


def fill(text: str, values: dict[str, Any]) -> str:
    """Return a text with each `{name}` replaced by its value; any other brace stays."""
    return re.sub(r"{(\w+)}", lambda found: str(values.get(found[1], found[0])), text)


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))

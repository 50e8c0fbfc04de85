"""The workshop in the terminal: checks an exercise each time it is saved, and answers keys."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from lessons.workshop import progress, screen
from lessons.workshop.catalogue import Lesson, workshop_texts
from lessons.workshop.checker import Checker
from lessons.workshop.keyboard import pressed, single_keys
from runtime.errors import UserError


@dataclass
class Terminal:
    """What a student sees, and what the keys have made of it."""

    lessons: Sequence[Lesson]
    language: str
    checker: Checker
    console: Console
    current: Lesson = field(init=False)
    hints: dict[str, int] = field(default_factory=dict)
    shows_hints: bool = False
    note: str = ""
    asked: str = ""  # the key that is to be pressed a second time
    shows: str = "lesson"  # or "list" or "solution"

    def __post_init__(self) -> None:
        """Begin with the first lesson that is not solved."""
        self.texts = workshop_texts(self.language)
        self.current = first_open(self.lessons)

    def watch(self) -> None:
        """Show, check and answer keys until `q`; raise what makes checks impossible."""
        seen: tuple[object, ...] | None = None
        with self._keyboard() as pressed:
            while True:
                self._look_for_work()
                if self.checker.error:
                    raise self.checker.error
                now = (progress.fingerprint(self.current), self.checker.done, self.console.size)
                if seen and now[0] != seen[0]:
                    # They were about a text that has been changed since.
                    self.note, self.asked, self.shows_hints = "", "", False
                if seen is None or (now != seen and self.shows != "solution"):
                    self._show()
                seen = now
                key = pressed()
                if key == "q":
                    return
                if key:
                    self._answer(key)
                    seen = None

    @contextmanager
    def _keyboard(self) -> Iterator[Callable[[], str]]:
        """Give a function that returns a key, or after a short while an empty text."""
        with single_keys():
            yield pressed

    def _look_for_work(self) -> None:
        """Let the current exercise be checked, and when that is known any other that was begun."""
        if progress.outcome_of(self.current) is None:
            self.checker.want(self.current)
        elif self.checker.is_idle and (lesson := find_unknown(self.lessons)):
            self.checker.want(lesson)

    def _answer(self, key: str) -> None:
        twice, self.asked, self.note = self.asked == key, "", ""
        place = self.lessons.index(self.current)
        if self.shows == "solution" or (self.shows == "list" and key == "l"):
            self.shows = "lesson"
        elif key in "np":
            place += 1 if key == "n" else -1
            self.current = self.lessons[max(0, min(place, len(self.lessons) - 1))]
            self.shows_hints = False
        elif key == "l":
            self.shows = "list"
        elif self.shows == "list":
            self.shows = "lesson"
        elif key == "h":
            self._hint()
        elif key in "sr" and not twice:
            self.asked, self.note = key, self.texts[f"ask_{key}"]
        elif key == "s":
            self.shows = "solution"
        elif key == "r":
            try:
                self.note = progress.put_in_place(
                    self.current, self.current.original, self.language
                )
            except UserError as error:
                self.note = str(error)

    def _hint(self) -> None:
        """Show the hints that were there before, or one more."""
        asked = self.hints.get(self.current.name, 0)
        hidden, self.shows_hints = not self.shows_hints, True
        if hidden and asked:
            return
        if asked == len(self.current.texts(self.language)["hints"]):
            self.note = self.texts["no_more_hints"]
        else:
            self.hints[self.current.name] = asked + 1

    def _show(self) -> None:
        if self.shows == "solution":
            screen.clear(self.console)
            text = self.current.solution.read_text(encoding="utf-8")
            self.console.print(Syntax(text, "python", theme="ansi_dark", word_wrap=True))
            self.console.print(self.texts["any_key"], style="bold")
            return
        keys = self.texts["keys"]
        lines = len(Text(keys).wrap(self.console, self.console.width))
        parts = self._parts((self.console.width, self.console.height - 2 - lines))
        screen.show(self.console, self.lessons, parts, keys)

    def _parts(self, size: tuple[int, int]) -> list[screen.Part]:
        """Return the list of the lessons as it fits into a size, or the lesson."""
        if self.shows == "list":
            return screen.list_parts(self.lessons, self.current, self.language, size)
        hints = self.hints.get(self.current.name, 0) if self.shows_hints else 0
        outcome = progress.outcome_of(self.current)
        return screen.lesson_parts(self.current, outcome, hints, self.note, self.language)


def first_open(lessons: Sequence[Lesson]) -> Lesson:
    """Return the first lesson that is not solved; the last one where all are."""
    return next((lesson for lesson in lessons if not progress.is_solved(lesson)), lessons[-1])


def find_unknown(lessons: Sequence[Lesson]) -> Lesson | None:
    """Return a lesson that was begun and whose check was not asked since, or None."""
    return next(
        (
            lesson
            for lesson in lessons
            if progress.outcome_of(lesson) is None and not progress.is_as_delivered(lesson)
        ),
        None,
    )

"""The workshop in the terminal: checks an exercise each time it is saved, and answers keys."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from lessons.workshop import programs, progress, screen
from lessons.workshop.catalogue import Lesson, fill, workshop_texts
from lessons.workshop.checker import Checker
from lessons.workshop.keyboard import CTRL_C, pressed, single_keys
from runtime.errors import UserError
from runtime.settings import ROOT


@dataclass
class Terminal:
    """What a student sees, and the state that the keys have set."""

    lessons: Sequence[Lesson]
    language: str
    checker: Checker
    console: Console
    environment: Mapping[str, str]  # of the programs that keys start
    current: Lesson = field(init=False)
    hints: dict[str, int] = field(default_factory=dict)
    shows_hints: bool = False
    note: str = ""
    asked: str = ""  # the key that is to be pressed a second time
    shows_list: bool = False
    pressed: Callable[[], str] = pressed  # a key, or after a short while an empty text

    def __post_init__(self) -> None:
        """Begin with the first lesson that is not solved."""
        self.texts = workshop_texts(self.language)
        self.current = first_open(self.lessons)

    def watch(self) -> None:
        """Show, check and answer keys until `q`; raise an error that makes checks impossible."""
        seen: tuple[object, ...] | None = None
        with self._keyboard():
            while True:
                self._look_for_work()
                if self.checker.error:
                    raise self.checker.error
                now = (progress.fingerprint(self.current), self.checker.done, self.console.size)
                if seen and now[0] != seen[0]:
                    # They were about a text that has been changed since.
                    self.note, self.asked, self.shows_hints = "", "", False
                if seen is None or now != seen:
                    self._show()
                seen = now
                key = self.pressed()
                if key in ("q", CTRL_C):
                    return
                if key:
                    self._answer(key)
                    seen = None

    @contextmanager
    def _keyboard(self) -> Iterator[None]:
        """Let `pressed` give single keys while the block lasts."""
        with single_keys():
            yield

    def _look_for_work(self) -> None:
        """Request a check of the current exercise, then of any other that was begun."""
        if progress.outcome_of(self.current) is None:
            self.checker.want(self.current)
        elif self.checker.is_idle and (lesson := find_unknown(self.lessons)):
            self.checker.want(lesson)

    def _answer(self, key: str) -> None:
        twice, self.asked, self.note = self.asked == key, "", ""
        place = self.lessons.index(self.current)
        if key in "np":
            place += 1 if key == "n" else -1
            self.current = self.lessons[max(0, min(place, len(self.lessons) - 1))]
            self.shows_hints = False
        elif key == "l" or self.shows_list:
            self.shows_list = not self.shows_list
        elif key == "h":
            self._hint()
        elif key in "sr" and not twice:
            self.asked, self.note = key, self.texts[f"ask_{key}"]
        elif key == "s":
            self._show_solution()
        elif key == "x":
            self._run()
        elif key == "t":
            self._show_page()
        elif key == "e":
            self._edit()
        elif key == "r":
            try:
                self.note = progress.put_in_place(
                    self.current, self.current.original, self.language
                )
            except UserError as error:
                self.note = str(error)

    def _hint(self) -> None:
        """Show the earlier hints again, or one more."""
        asked = self.hints.get(self.current.name, 0)
        hidden, self.shows_hints = not self.shows_hints, True
        if hidden and asked:
            return
        if asked == len(self.current.texts(self.language)["hints"]):
            self.note = self.texts["no_more_hints"]
        else:
            self.hints[self.current.name] = asked + 1

    def _show_solution(self) -> None:
        screen.clear(self.console)
        text = self.current.solution.read_text(encoding="utf-8")
        self.console.print(Syntax(text, "python", theme="ansi_dark", word_wrap=True))
        self._wait_for_key("any_key")

    def _show_page(self) -> None:
        """Show the lesson's page, a screen at a time."""
        page = self.current.page(self.language)
        try:
            text = page.read_text(encoding="utf-8")
        except OSError:
            self.note = self._sentence("no_page", page=page.relative_to(ROOT))
            return
        screens = screen.page_screens(text, self.texts["answers"], self.console)
        for left, part in zip(reversed(range(len(screens))), screens, strict=True):
            screen.clear(self.console)
            self.console.print(part, end="")
            if self._wait_for_key("more" if left else "any_key") != " ":
                return

    def _run(self) -> None:
        """Run the exercise, and leave its output on the screen until a key is pressed."""
        if self._has_exercise():
            screen.clear(self.console)
            self._say("running")
            programs.run_exercise(self.current, self.environment, self.pressed)
            self._wait_for_key("any_key")

    def _edit(self) -> None:
        """Open the exercise in the student's editor."""
        if not self._has_exercise():
            return
        editor = programs.find_editor()
        values = {"editor": programs.wanted_editor()}
        try:
            if not editor:
                raise FileNotFoundError
            if programs.waits(editor):
                screen.clear(self.console)
                self._say("close_editor", **values)
            with single_keys():  # an editor may leave the terminal in another state
                programs.open_editor(editor, self.current.exercise, self.environment)
        except OSError:
            self.note = self._sentence("no_editor", **values)
        else:
            self.note = "" if programs.waits(editor) else self._sentence("opened")

    def _has_exercise(self) -> bool:
        """Return whether there is an exercise; if not, say how to restore it."""
        if self.current.exercise.exists():
            return True
        self.note = self.current.sentence("no_file", {}, self.language)
        return False

    def _sentence(self, key: str, **values: object) -> str:
        exercise = self.current.exercise.relative_to(ROOT)
        return fill(self.texts[key], {"exercise": exercise, **values})

    def _say(self, key: str, **values: object) -> None:
        self.console.print(Text(self._sentence(key, **values), style="bold"))

    def _wait_for_key(self, key: str) -> str:
        """Say what the keys do, and return the one that is pressed; checks continue meanwhile."""
        self._say(key)
        while not (answer := self.pressed()):
            self._look_for_work()
        return answer

    def _show(self) -> None:
        keys = self.texts["keys"]
        lines = len(Text(keys).wrap(self.console, self.console.width))
        parts = self._parts((self.console.width, self.console.height - 2 - lines))
        screen.show(self.console, self.lessons, parts, keys)

    def _parts(self, size: tuple[int, int]) -> list[screen.Part]:
        """Return the part of the list of lessons that fits, or the current lesson."""
        if self.shows_list:
            return screen.list_parts(self.lessons, self.current, self.language, size)
        hints = self.hints.get(self.current.name, 0) if self.shows_hints else 0
        outcome = progress.outcome_of(self.current)
        return screen.lesson_parts(self.current, outcome, hints, self.note, self.language)


def first_open(lessons: Sequence[Lesson]) -> Lesson:
    """Return the first lesson that is not solved; the last one where all are."""
    return next((lesson for lesson in lessons if not progress.is_solved(lesson)), lessons[-1])


def find_unknown(lessons: Sequence[Lesson]) -> Lesson | None:
    """Return a lesson that was begun and has not been checked since, or None."""
    return next(
        (
            lesson
            for lesson in lessons
            if progress.outcome_of(lesson) is None and not progress.is_as_delivered(lesson)
        ),
        None,
    )

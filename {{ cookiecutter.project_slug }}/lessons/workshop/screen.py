"""What the workshop's terminal shows: parts of text that fit into a window, however small."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.progress_bar import ProgressBar
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from lessons.workshop import progress
from lessons.workshop.catalogue import Lesson, fill, find_lessons, workshop_texts
from lessons.workshop.checking import Outcome
from runtime.settings import ROOT

RIGHT, OPEN, QUIET = "bold green", "bold yellow", "dim"
QUESTION = re.compile(r"<details>\s*<summary>(.+?)</summary>\s*(.+?)\s*</details>", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """A paragraph; if a window is too small, the one with the highest `spare` is dropped first."""

    content: Text
    spare: int = 0


def heading(lessons: Sequence[Lesson], width: int) -> RenderableType:
    """Return the progress over all lessons: a bar, and solved / all."""
    solved = sum(map(progress.is_solved, lessons))
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_row(
        ProgressBar(total=len(lessons), completed=solved, width=max(width - 8, 5)),
        Text(f"{solved}/{len(lessons)}", style="bold"),
    )
    return row


def progress_line(lessons: Sequence[Lesson], language: str) -> str:
    """Return how many of the lessons are solved, as a sentence."""
    values = {"solved": sum(map(progress.is_solved, lessons)), "all": len(lessons)}
    return fill(workshop_texts(language)["progress"], values)


def lesson_parts(
    lesson: Lesson, outcome: Outcome | None, hints: int, note: str, language: str
) -> list[Part]:
    """Return one lesson: the task, the outcome, the hints asked for, and a `note`."""
    own, texts = lesson.texts(language), workshop_texts(language)
    files = [path.relative_to(ROOT) for path in (lesson.page(language), lesson.exercise)]
    page, exercise = (str(path) for path in files)
    parts = [
        Part(Text(fill(texts["lesson"], {"number": lesson.number, "title": own["title"]}), "bold")),
        Part(Text(own["task"]), spare=3),
        Part(Text(fill(texts["files"], {"page": page, "exercise": exercise})), spare=4),
    ]
    if outcome is None:
        parts.append(Part(Text(texts["checking"], style=QUIET)))
    elif outcome.key is None:
        all_solved = all(map(progress.is_solved, find_lessons()))
        parts.append(Part(Text(texts["all_right" if all_solved else "is_right"], style=RIGHT)))
    else:
        sentence = lesson.sentence(outcome.key, outcome.values, language)
        # Whoever has asked for a hint has read this.
        parts.append(
            Part(Text.assemble((texts["is_open"], OPEN), " ", sentence), spare=1 if hints else 0)
        )
    shown = own["hints"][:hints] if outcome is None or outcome.key else []
    for number, hint in enumerate(shown, start=1):
        values = {"number": number, "all": len(own["hints"]), "hint": hint}
        parts.append(Part(Text(fill(texts["hint"], values)), spare=2 if number < len(shown) else 0))
    return [*parts, Part(Text(note, style="bold"))] if note else parts


def page_screens(page: str, answers: str, console: Console) -> list[Segments]:
    """Return a page in screens; the answers to its questions come last, under a heading."""
    solved = [f"**{question}** {answer}" for question, answer in QUESTION.findall(page)]
    texts = [QUESTION.sub(r"- \1", page)]
    if solved:
        texts.append("\n\n".join([f"## {answers}", *solved]))
    # Below stand the keys, in up to two lines, and the cursor.
    height = max(console.height - 4, 1)
    screens = []
    for text in texts:
        markdown = Markdown(text, code_theme="ansi_dark", hyperlinks=False)
        lines = console.render_lines(markdown, pad=False, new_lines=True)
        screens += [
            Segments(chain.from_iterable(lines[first : first + height]))
            for first in range(0, len(lines), height)
        ]
    return screens


def list_parts(
    lessons: Sequence[Lesson], current: Lesson, language: str, size: tuple[int, int]
) -> list[Part]:
    """Return all lessons, or those around the current one that fit."""
    width, height = size
    first = max(0, min(lessons.index(current) - height // 2, len(lessons) - height))
    lines = [line_of(one, language, one == current) for one in lessons[first : first + height]]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return [Part(Text("\n").join(lines))]


def line_of(lesson: Lesson, language: str, is_current: bool = False) -> Text:
    """Return a line with a lesson and its state."""
    solved = progress.is_solved(lesson)
    state = workshop_texts(language)["solved" if solved else "not_solved"]
    mark = "> " if is_current else "  "
    line = Text(f"{mark}{lesson.heading(language)}: ")
    return line.append(state, style=RIGHT if solved else OPEN)


def show(console: Console, lessons: Sequence[Lesson], parts: Sequence[Part], keys: str) -> None:
    """Clear the window and fill it: the progress, the parts, and the keys at the end."""
    width, height = console.size
    last = Part(Text(keys, style=QUIET))
    chosen = [*parts, last]
    room = height - 2  # the progress, and the line that the cursor is in

    def lines(gap: int) -> int:
        return sum(len(part.content.wrap(console, width)) for part in chosen) + gap * len(chosen)

    gap = 1 if lines(gap=1) <= room else 0
    while lines(gap) > room and any(part.spare for part in chosen):
        chosen.remove(max(chosen, key=lambda part: part.spare))
    if (more := lines(gap) - room) > 0 and len(chosen) > 1:  # not even that fits
        wrapped = chosen[-2].content.wrap(console, width)
        chosen[-2] = Part(
            Text("\n").join([*wrapped[: max(1, len(wrapped) - more - 1)], Text("...")])
        )
    clear(console)
    with console:  # all at once, so that nothing flickers
        console.print(heading(lessons, width))
        for part in chosen:
            if gap:
                console.print()
            console.print(part.content)


def clear(console: Console) -> None:
    """Clear the window, even in a Windows console without escape sequences."""
    if console.legacy_windows:
        os.system("cls")  # noqa: S605, S607
    else:
        console.clear()

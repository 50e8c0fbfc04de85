"""The programs that a key starts: the exercise itself, and an editor."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lessons.workshop.catalogue import Lesson
from lessons.workshop.keyboard import CTRL_C
from runtime.settings import ROOT

DOES_NOT_WAIT = "code"  # it opens a window of its own, and the workshop continues


def run_exercise(
    lesson: Lesson, environment: Mapping[str, str], pressed: Callable[[], str]
) -> None:
    """Run an exercise as `main.py lessons run` does; q or Ctrl-C ends it, a second one kills it.

    Its output goes to the terminal. It reads nothing there: the keys are for the workshop.
    """
    process = subprocess.Popen(
        [sys.executable, "main.py", "lessons", "run", str(lesson.number)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    ways_to_stop = [process.kill, process.terminate]
    try:
        while process.poll() is None:
            if pressed() in ("q", CTRL_C) and ways_to_stop:
                ways_to_stop.pop()()
    finally:
        process.kill()
        process.wait()


def wanted_editor() -> str:
    """Return the editor that the student has chosen, else the command of VS Code."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or DOES_NOT_WAIT


def find_editor() -> list[str]:
    """Return the command of the wanted editor, without a file; empty if it is not installed."""
    wanted = wanted_editor()
    try:
        words = [wanted] if shutil.which(wanted) else shlex.split(wanted, posix=os.name != "nt")
    except ValueError:  # an unclosed quotation mark
        return []
    program = shutil.which(words[0].strip('"')) if words else None
    return [program, *words[1:]] if program else []


def waits(editor: list[str]) -> bool:
    """Return whether the workshop has to wait until an editor is closed."""
    return Path(editor[0]).stem.lower() != DOES_NOT_WAIT


def open_editor(editor: list[str], file: Path, environment: Mapping[str, str]) -> None:
    """Open a file in an editor, and wait where it `waits`; raise `OSError` if it cannot start."""
    options = editor[1:]
    if not waits(editor):  # EDITOR is often "code --wait", for git
        options = [option for option in options if option not in ("--wait", "-w")]
    subprocess.run([editor[0], *options, str(file)], env=environment, check=False)

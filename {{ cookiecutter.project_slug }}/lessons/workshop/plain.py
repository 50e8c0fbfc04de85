"""The workshop line by line, for a screen reader: no cursor moves, and nothing is said twice."""

import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lessons.workshop import programs, progress, screen
from lessons.workshop.catalogue import fill
from lessons.workshop.keyboard import WAIT_SECONDS
from lessons.workshop.terminal import Terminal, find_unknown
from runtime.settings import ROOT

END = "end"  # of the input


@dataclass
class PlainTerminal(Terminal):
    """Prints what is new on the screen; a key is typed as a line, the end of the input is `q`."""

    last_lines: list[str] = field(default_factory=list)  # what the screen shows now
    runs_exercise: bool = False

    def watch(self) -> None:
        """Show, check and answer keys until `q`; raise an error that makes checks impossible."""
        super().watch()
        self._show()

    @contextmanager
    def _keyboard(self) -> Iterator[None]:
        keys: queue.Queue[str] = queue.Queue()

        def read() -> None:
            # Not by `sys.stdin`: a thread that waits in it keeps Python from ending.
            while typed := os.read(0, 1024).decode(errors="replace"):
                for line in typed.splitlines():
                    for key in line.strip().lower() or " ":
                        keys.put(key)
            keys.put(END)

        def pressed() -> str:
            try:
                key = keys.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                return ""
            if key == END and self._has_work():
                keys.put(END)  # what was asked for is still done and shown
                time.sleep(WAIT_SECONDS)
                return ""
            return "q" if key == END else key

        self.pressed = pressed
        threading.Thread(target=read, daemon=True).start()
        yield

    def _has_work(self) -> bool:
        unknown = progress.outcome_of(self.current) is None or find_unknown(self.lessons)
        return self.runs_exercise or bool(unknown)

    def _show(self) -> None:
        shown = [screen.progress_line(self.lessons, self.language)]
        shown += [part.content.plain for part in self._parts((sys.maxsize, sys.maxsize))]
        shown.append(fill(self.texts["plain_keys"], {"keys": self.texts["keys"]}))
        lines = "\n".join(shown).splitlines()
        for line in lines:
            if line not in self.last_lines:
                print(line, flush=True)
        self.last_lines = lines

    def _show_solution(self) -> None:
        print(self.current.solution.read_text(encoding="utf-8"), flush=True)

    def _show_page(self) -> None:
        page: Path = self.current.page(self.language)
        try:
            print(page.read_text(encoding="utf-8"), flush=True)
        except OSError:
            self.note = self._sentence("no_page", page=page.relative_to(ROOT))

    def _run(self) -> None:
        if self._has_exercise():
            print(self._sentence("running"), flush=True)
            self.runs_exercise = True
            programs.run_exercise(self.current, self.environment, self.pressed)
            self.runs_exercise = False

    def _edit(self) -> None:
        """Open the exercise in an editor with a window of its own: this terminal reads the keys."""
        editor = programs.find_editor()
        if editor and programs.waits(editor):
            self.note = self._sentence("terminal_editor", editor=programs.wanted_editor())
        else:
            super()._edit()

"""The workshop line by line, for a screen reader: no cursor moves, and nothing is said twice."""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lessons.workshop import progress
from lessons.workshop.catalogue import fill
from lessons.workshop.keyboard import WAIT_SECONDS
from lessons.workshop.terminal import Terminal, find_unknown


@dataclass
class PlainTerminal(Terminal):
    """Prints what is new on the screen; a key is a line, and the end of the input is `q`."""

    said: list[str] = field(default_factory=list)  # what the screen shows now

    def watch(self) -> None:
        """Show, check and answer keys until `q`; raise what makes checks impossible."""
        super().watch()
        self._show()

    @contextmanager
    def _keyboard(self) -> Iterator[Callable[[], str]]:
        keys: queue.Queue[str] = queue.Queue()

        def read() -> None:
            # Not by `sys.stdin`: a thread that waits in it keeps Python from ending.
            while typed := os.read(0, 1024).decode(errors="replace"):
                for line in typed.splitlines():
                    for key in line.strip().lower() or " ":
                        keys.put(key)
            keys.put("end")

        def pressed() -> str:
            try:
                key = keys.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                return ""
            if key != "end":
                return key
            if progress.outcome_of(self.current) is None or find_unknown(self.lessons):
                keys.put("end")  # what was asked for is still checked and shown
                threading.Event().wait(WAIT_SECONDS)
                return ""
            return "q"

        threading.Thread(target=read, daemon=True).start()
        yield pressed

    def _show(self) -> None:
        if self.shows == "solution":
            shown = [self.current.solution.read_text(encoding="utf-8"), self.texts["any_key"]]
        else:
            solved = sum(map(progress.is_solved, self.lessons))
            values = {"solved": solved, "all": len(self.lessons)}
            shown = [fill(self.texts["progress"], values)]
            shown += [part.content.plain for part in self._parts((sys.maxsize, sys.maxsize))]
            shown.append(fill(self.texts["plain_keys"], {"keys": self.texts["keys"]}))
        lines = "\n".join(shown).splitlines()
        for line in lines:
            if line not in self.said:
                print(line, flush=True)
        self.said = lines

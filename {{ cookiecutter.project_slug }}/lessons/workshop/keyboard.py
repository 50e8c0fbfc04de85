"""Single keys, as they are pressed, on Windows and elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_SECONDS = 0.1  # how often the terminal looks at the clock, the files and its size
CTRL_C = "\x03"

if sys.platform == "win32":
    import msvcrt

    @contextmanager
    def single_keys() -> Iterator[None]:
        """Give keys without Enter while the block lasts."""
        yield

    def pressed() -> str:
        """Return the key that was pressed, after WAIT_SECONDS an empty text."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if msvcrt.kbhit():
                key = msvcrt.getwch()
                if key in "\0\xe0":  # an arrow or a function key, which comes as two
                    msvcrt.getwch()
                    return ""
                return key.lower()
            time.sleep(0.02)
        return ""

else:
    import select
    import termios
    import tty

    @contextmanager
    def single_keys() -> Iterator[None]:
        """Give keys without Enter, and without showing them, while the block lasts.

        Ctrl-C is a key, too: as a signal it would also end the server and the judge.
        """
        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        settings = termios.tcgetattr(sys.stdin)
        settings[6][termios.VINTR] = bytes([os.fpathconf(sys.stdin.fileno(), "PC_VDISABLE")])
        termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)

    waiting: list[str] = []  # keys that were read together, from quick typing

    def pressed() -> str:
        """Return the key that was pressed, after WAIT_SECONDS an empty text.

        An arrow or a function key comes as several characters, and is ignored.
        """
        if waiting:
            return waiting.pop(0)
        if not select.select([sys.stdin], [], [], WAIT_SECONDS)[0]:
            return ""
        typed = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
        if not typed:  # the terminal is gone
            return "q"
        if typed.startswith("\x1b"):
            return ""
        waiting.extend(typed.lower())
        return waiting.pop(0)

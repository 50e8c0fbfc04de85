"""Prefect's log in the terminal, shortened; the dashboard always shows all of it."""

import logging
import re
import sys
from copy import copy
from pathlib import Path
from typing import Any

from prefect.logging.handlers import PrefectConsoleHandler

from runtime import settings
from runtime.errors import is_for_user, without_password

# Messages that Prefect cannot keep an error in the format of a task's result, and that it still
# sends events at the end, which takes time on a busy machine.
NOISE = re.compile("Failed to serialize object of type|Still processing items")
# Messages of success, and those about an error that is raised next.
ROUTINE = re.compile(
    r"Beginning (sub)?flow run '|Finished in state (Completed\(\)|Failed\()"
    "|(Parameter v|V)alidation (of flow parameters )?failed "
)
# A state with an error of several lines, written as by repr().
LONG_STATE = re.compile(r"(Finished in state \w+\((['\"]).*?)(?<!\\)\\n.*")


class PlainConsoleHandler(PrefectConsoleHandler):
    """Prefect's console handler, without tracebacks (`--debug` shows them) and without noise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_terminal = self.console.is_terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, unless it is noise; other handlers get it unchanged."""
        message = record.getMessage()
        if NOISE.search(message):
            return
        error = record.exc_info[1] if record.exc_info else None
        if is_for_user(error):
            return  # the state says it too, and main.py once more at the end
        record = copy(record)
        if error and str(error) not in message:
            message = f"{message}: {error}"
        # The states of the flows repeat that of the task, which is logged as an error.
        if record.levelno < logging.ERROR or main_py_runs_here():
            message = LONG_STATE.sub(r"\1 …\2)", message)
        record.msg, record.args = without_password(message), ()
        record.exc_info = record.exc_text = None
        if self.is_terminal:
            super().emit(record)
        else:  # a file needs no colours, and rich is slow
            logging.StreamHandler.emit(self, record)


class ShortConsoleHandler(PlainConsoleHandler):
    """The same without routine messages, which would fill the page of a notebook."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, unless it is routine."""
        if not ROUTINE.match(record.getMessage()):
            super().emit(record)


def show_short_log() -> None:
    """Shorten Prefect's log, unless another handler was chosen."""
    handlers = logging.getLogger().handlers
    for number, handler in enumerate(handlers):
        if type(handler) is PrefectConsoleHandler:
            handlers[number] = ShortConsoleHandler(stream=handler.stream)
            handlers[number].setFormatter(handler.formatter)


def main_py_runs_here() -> bool:
    """Return whether this process runs main.py, which prints an error when the run is over."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    return program is not None and Path(program).resolve() == settings.ROOT / "main.py"

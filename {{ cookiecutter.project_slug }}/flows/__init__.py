"""The project's flows. ROOT is the one place from which every path of the project is derived."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSOLE_HANDLER = "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS"  # Prefect's setting for the terminal
KEEP_RUNS = "100"  # how many runs are kept, or "all"; the environment variable of this name wins


class UserError(Exception):
    """What the user can put right: its text says what is wrong, where, and what to do."""

    exit_code = 2


class CannotWrite(UserError):
    """Where there is no room or no right to keep what a run made: the run has failed."""

    exit_code = 1


class ServerError(UserError):
    """A server cannot be used, though nothing that was given to the run is wrong."""

    exit_code = 1


def without_password(text: str) -> str:
    """Return a text in which no address has a user's name and password any more."""
    return re.sub(r"://[^/\s]*@", "://…@", text)


def shown(text: str, longest: int = 200) -> str:
    """Return a text from outside so that it can stand in a message.

    It is cut where it is long, and what would steer a terminal is replaced.
    """
    text = without_password(text)
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def keep_runs() -> int | None:
    """Return how many runs are kept, None for all; raise `UserError` for what is no number."""
    text = os.environ.get("KEEP_RUNS") or KEEP_RUNS
    if text == "all":
        return None
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise UserError(f"KEEP_RUNS={shown(text)!r} is not allowed: a number from 1 on, or 'all'.")
    return int(text)

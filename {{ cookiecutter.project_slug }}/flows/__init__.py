"""The project's flows. ROOT is the one place from which every path of the project is derived."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSOLE_HANDLER = "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS"  # Prefect's setting for the terminal


class UserError(Exception):
    """What the user can put right: its text says what is wrong, where, and what to do."""

    exit_code = 2


def shown(text: str, longest: int = 200) -> str:
    """Return a text from outside so that it can stand in a message.

    It is cut where it is long; what would steer a terminal is replaced, and so is the password in
    an address.
    """
    text = re.sub(r"://[^/\s]*@", "://…@", text)
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)

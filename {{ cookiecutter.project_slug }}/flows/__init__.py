"""The project's flows. ROOT is the one place from which every path of the project is derived."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSOLE_HANDLER = "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS"  # Prefect's setting for the terminal


class UserError(Exception):
    """What the user can put right: its text says what is wrong, where, and what to do."""

    exit_code = 2

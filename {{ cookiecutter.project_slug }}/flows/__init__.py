"""The project's flows. ROOT is the one place from which every path of the project is derived."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSOLE_HANDLER = "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS"  # Prefect's setting for the terminal
# Where outputs are kept: "" for this folder, or a bucket, such as "s3://bucket/prefix" and
# "gs://bucket/prefix"; the environment variable of this name wins.
OUTPUTS = ""
# Where tasks run: "threads", "processes", "dask", "ray", or the address of a cluster, such as
# "tcp://host:8786" (Dask) and "ray://host:10001"; the environment variable of this name wins.
ENGINE = "threads"
KEEP_RUNS = "100"  # how many runs are kept, or "all"; the environment variable of this name wins


class UserError(Exception):
    """What the user can put right: its text says what is wrong, where, and what to do."""

    exit_code = 2


class CannotWrite(UserError):
    """Where there is no room or no right to keep what a run made: the run has failed."""

    exit_code = 1


class Unavailable(UserError):
    """A server, bucket or cluster cannot be used, though nothing given to the run is wrong."""

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


def outputs() -> str:
    """Return the address of the bucket for outputs, "" for none; raise `UserError` for no such."""
    text = (os.environ.get("OUTPUTS") or OUTPUTS).rstrip("/")
    part = r"(?!\.+(/|$))[\w.@=+-]+"  # not only dots, which would lead elsewhere
    if text and not re.fullmatch(rf"(s3|gs)://[a-z0-9][\w.-]+(/{part})*", text, re.ASCII):
        raise UserError(
            f"OUTPUTS={shown(text)!r} is not allowed: leave it empty for this folder, or name a "
            "bucket, as s3://bucket/prefix or gs://bucket/prefix."
        )
    return text


def engine() -> str:
    """Return where tasks run; raise `UserError` for what is no engine."""
    text = os.environ.get("ENGINE") or ENGINE
    if not re.fullmatch(
        r"threads|processes|dask|ray|(tcp|tls|ray)://([\w.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}", text
    ):
        raise UserError(
            f"ENGINE={shown(text)!r} is not allowed: threads, processes, dask, ray, or a "
            "cluster's address, as tcp://host:8786 (Dask) or ray://host:10001."
        )
    return text

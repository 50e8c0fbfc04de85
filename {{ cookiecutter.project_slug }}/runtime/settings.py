"""The project's folder, and its settings.

A setting is read each time it is needed: from the environment variable of its name, else from
`[tool.runtime]` in pyproject.toml.
"""

import logging
import os
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from runtime.errors import UserError, printable

ROOT = Path(__file__).resolve().parents[1]  # every path of the project is derived from it
CONSOLE_HANDLER = "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS"  # Prefect's setting for the terminal


def is_interactive() -> bool:
    """Return whether Python continues after a command, as in a notebook and in IDLE."""
    return hasattr(sys, "ps1") or "idlelib.run" in sys.modules


def pyproject() -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return _parsed(ROOT / "pyproject.toml")


@cache
def _parsed(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _in_file() -> dict[str, Any]:
    table: dict[str, Any] = pyproject().get("tool", {}).get("runtime", {})
    return table


def _read(name: str, default: str, pattern: str, allowed: str) -> str:
    """Return the text of a setting; raise `UserError` where it does not match a pattern."""
    text = os.environ.get(name) or str(_in_file().get(name.lower(), "")) or default
    if not re.fullmatch(pattern, text, re.ASCII):
        raise UserError(f"{name}={printable(text)!r} is not allowed: {allowed}.")
    return text


def outputs() -> str:
    """Return the address of the bucket for outputs, "" for the project's folder."""
    part = r"(?!\.+(/|$))[\w.@=+-]+"  # not only dots, which lead to another folder
    bucket = rf"(s3|gs|az)://[a-z0-9][\w.-]+(/{part})*/*"
    allowed = (
        "leave it empty for this folder, or name a bucket, as s3://bucket/prefix, "
        "gs://bucket/prefix or az://container/prefix"
    )
    return _read("OUTPUTS", "", f"({bucket})?", allowed).rstrip("/")


def engine() -> str:
    """Return where submitted tasks run."""
    address = r"(tcp|tls|ray)://([\w.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}"
    allowed = (
        "threads, processes, dask, ray, or a cluster's address, as tcp://host:8786 (Dask) or "
        "ray://host:10001"
    )
    return _read("ENGINE", "threads", f"threads|processes|dask|ray|{address}", allowed)


def keep_runs() -> int | None:
    """Return how many runs are kept, None for all."""
    text = _read("KEEP_RUNS", "100", "all|0*[1-9][0-9]{0,8}", "a number from 1 on, or 'all'")
    return None if text == "all" else int(text)


def warm() -> bool:
    """Return whether runs start warm while `ui` or `serve` runs: on Linux (`server/warm.py`)."""
    return _read("WARM", "yes", "yes|no", "yes or no") == "yes" and sys.platform == "linux"


def notify() -> list[str]:
    """Return the addresses for messages about runs that nobody watches: a text, or a TOML list.

    Raises `UserError` for one that Apprise does not know.
    """
    value = os.environ.get("NOTIFY") or _in_file().get("notify", "")
    addresses = value.split() if isinstance(value, str) else list(map(str, value))
    if addresses:
        from apprise import Apprise

        logging.getLogger("apprise").disabled = True  # it would log them
    for address in addresses:
        if Apprise.instantiate(address) is None:
            raise UserError(
                f"NOTIFY={scheme(address)} is not allowed: it should be an address of Apprise, as "
                "https://appriseit.com/services has them."
            )
    return addresses


def scheme(address: str) -> str:
    """Return the part of an address in NOTIFY that is no secret."""
    return f"{printable(address.partition('://')[0], 20)}://…" if "://" in address else "…"


def trusted_types() -> list[str]:
    """Return the types of other packages that a model's file may hold, such as xgboost's."""
    names: list[str] = _in_file().get("trusted_types", [])
    return names

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


def read(name: str) -> str:
    """Return the text of a setting, "" if it is not set."""
    return os.environ.get(name) or str(_in_file().get(name.lower(), ""))


def expand(path: str) -> Path:
    """Return a path in which `~` is the user's home, where the system knows one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path's own raises where there is no home)


def pyproject() -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return _parsed(ROOT / "pyproject.toml")


@cache
def _parsed(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _in_file() -> dict[str, Any]:
    table: dict[str, Any] = pyproject().get("tool", {}).get("runtime", {})
    return table


def outputs() -> str:
    """Return the address of the bucket for outputs, "" for the project's folder.

    Raises `UserError` for anything else.
    """
    text = read("OUTPUTS").rstrip("/")
    part = r"(?!\.+(/|$))[\w.@=+-]+"  # not only dots, which lead to another folder
    if text and not re.fullmatch(rf"(s3|gs|az)://[a-z0-9][\w.-]+(/{part})*", text, re.ASCII):
        raise UserError(
            f"OUTPUTS={printable(text)!r} is not allowed: leave it empty for this folder, or name "
            "a bucket, as s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."
        )
    return text


def engine() -> str:
    """Return where submitted tasks run; raise `UserError` for an unknown engine."""
    text = read("ENGINE") or "threads"
    if not re.fullmatch(
        r"threads|processes|dask|ray|(tcp|tls|ray)://([\w.-]+|\[[0-9a-f:]+\]):[0-9]{1,5}", text
    ):
        raise UserError(
            f"ENGINE={printable(text)!r} is not allowed: threads, processes, dask, ray, or a "
            "cluster's address, as tcp://host:8786 (Dask) or ray://host:10001."
        )
    return text


def keep_runs() -> int | None:
    """Return how many runs are kept, None for all; raise `UserError` for anything else."""
    text = read("KEEP_RUNS") or "100"
    if text == "all":
        return None
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise UserError(
            f"KEEP_RUNS={printable(text)!r} is not allowed: a number from 1 on, or 'all'."
        )
    return int(text)


def warm() -> bool:
    """Return whether runs start warm while `ui` or `serve` runs (`server/warm.py`).

    They do on Linux only. Raises `UserError` for anything but yes and no.
    """
    text = read("WARM") or "yes"
    if text not in ("yes", "no"):
        raise UserError(f"WARM={printable(text)!r} is not allowed: yes or no.")
    return text == "yes" and sys.platform == "linux"


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

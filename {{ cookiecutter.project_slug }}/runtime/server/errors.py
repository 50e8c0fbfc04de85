"""Says in one sentence why a Prefect server cannot be used: key, version, network, database."""

import asyncio
import re
import sqlite3
from contextlib import closing

import httpx
from prefect.exceptions import CancelledRun
from prefect.settings import PREFECT_API_URL
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from runtime.errors import Unavailable, UserError, without_password
from runtime.server.surroundings import unreachable


def explain(error: Exception) -> UserError | None:
    """Return what an error of Prefect's client says about its server; None for any other error."""
    if isinstance(error, CancelledRun):
        return Unavailable("The run was cancelled.")
    address = str(PREFECT_API_URL.value())
    if not _asked(error).startswith(address):
        return None  # a task of a project may ask other servers
    text = str(error).partition("\n")[0]
    if isinstance(error, httpx.HTTPStatusError):
        if error.response.status_code == 401:
            return UserError(
                f"{address} does not accept your key: log in again with `prefect cloud login`, or "
                "set PREFECT_API_KEY (for a server of your own, PREFECT_API_AUTH_STRING)."
            )
        if error.response.status_code == 403:
            return UserError(
                f"{address} does not allow this with your key: choose a workspace of yours with "
                "`prefect cloud workspace set`, or ask for more rights in this one."
            )
        return Unavailable(f"{address} cannot be used: {text}.")
    if text.startswith("Found incompatible versions"):
        return Unavailable(f"{address} cannot be used: {text}")
    if "CERTIFICATE_VERIFY_FAILED" in f"{text} {error.__cause__}":
        return Unavailable(
            f"{address} shows a certificate that this machine does not know: set "
            "PREFECT_API_SSL_CERT_FILE to the file of the certificate, as its owner gave it to you."
        )
    # Prefect's message for any failed attempt to connect, whatever the answer was.
    if isinstance(error, httpx.TransportError) or text.startswith("Failed to reach API"):
        return unreachable(address)
    return None


def explain_database(url: str) -> str:
    """Return why a server cannot use its database; "" where it can."""
    if not url:
        return ""
    if url.startswith("sqlite"):
        return _explain_sqlite(make_url(url).database or "")
    setting = "PREFECT_SERVER_DATABASE_CONNECTION_URL"

    async def connect() -> None:
        async with asyncio.timeout(10), engine.connect():
            pass

    try:
        engine = create_async_engine(url)
    except Exception:  # of any type: no valid address, or no such driver
        return (
            f"{setting} should be like postgresql+asyncpg://host:5432/database, "
            "with user:password@ before the host."
        )
    try:
        asyncio.run(connect())
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        # SQLAlchemy puts the name of the driver's error in front.
        text = re.sub(r"^\([\w.]+\) ", "", first_line) or "it does not answer"
        return f"{setting}: {without_password(url)} cannot be used: {text}."
    return ""


def _explain_sqlite(path: str) -> str:
    try:
        with closing(sqlite3.connect(path)) as database:
            reason = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        reason = str(error)
    if reason == "ok":
        return ""
    return (
        f"Prefect's database {path} cannot be used: {reason}. If it is damaged, rename it: a new "
        "one is created, and the files of your runs do not need it."
    )


def _asked(error: Exception) -> str:
    """Return the address that was asked; that of Prefect's server where the error names none."""
    try:
        return str(error.request.url)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return str(PREFECT_API_URL.value())

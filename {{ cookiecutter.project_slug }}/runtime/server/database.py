"""The SQLite database of Prefect's server: its tables at once, a damaged one set aside."""

import re
import sqlite3
import sys
from contextlib import closing, suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path

TABLES = Path(__file__).with_name("tables.sql")


def set_damaged_aside(database: Path) -> None:
    """Give a damaged database of Prefect's another name, so that a new one is made, and say so.

    What runs left in their folders does not need it. Raises `OSError` where it cannot be renamed.
    """
    parts = [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]
    if not any(part.is_dir() for part in parts) and not _is_damaged(database):
        return
    damaged = f".damaged-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for part in parts:
        if part.exists():
            part.rename(part.with_name(part.name + damaged))
    print(
        f"Prefect's database {database} is damaged. It is kept as {database.name}{damaged}, and "
        "a new one is created: the dashboard starts empty, the files of your runs are all there.",
        file=sys.stderr,
    )


def _is_damaged(database: Path) -> bool:
    if not database.is_file():
        return False
    try:
        # Only to read: else SQLite would throw away what belongs to a damaged file.
        url = f"{database.as_uri()}?mode=ro"
        with closing(sqlite3.connect(url, uri=True, timeout=60)) as connection:
            answer: tuple[str] = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return error.sqlite_errorcode in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return answer != ("ok",)


def prepare_database(url: str) -> bool:
    """Create the tables of an empty SQLite database; return whether it is known to be current.

    `tables.sql` holds the tables that `prefect server database upgrade` makes step by step, for
    the one version of Prefect that its first line names. With another version, and with any other
    database, Prefect sees to the tables itself.
    """
    from sqlalchemy import make_url

    schema = TABLES.read_text(encoding="utf-8") if TABLES.exists() else ""
    made_for = re.match(r"-- Prefect ([\d.]+\d)", schema)
    revision = re.search(r"INSERT INTO \"alembic_version\" VALUES\('(\w+)'\)", schema)
    if not url or not made_for or made_for[1] != metadata.version("prefect") or not revision:
        return False
    place = make_url(url)
    if place.get_backend_name() != "sqlite" or ":memory:" in url or "mode=memory" in url:
        return False
    try:
        with closing(sqlite3.connect(place.database or "", timeout=60)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                # Of several first runs one gets here first; for the others the tables exist.
                with suppress(sqlite3.OperationalError):
                    database.executescript(f"BEGIN EXCLUSIVE;\n{schema}\nCOMMIT;")
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return rows == [(revision[1],)]


def has_automations(url: str) -> bool:
    """Tell whether a SQLite database holds an automation, or cannot be asked whether it does."""
    from sqlalchemy import make_url

    try:
        with closing(sqlite3.connect(make_url(url).database or "", timeout=60)) as database:
            return database.execute("SELECT 1 FROM automation LIMIT 1").fetchone() is not None
    except sqlite3.Error:  # the server says what is wrong
        return True

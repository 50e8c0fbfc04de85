"""The tables of a new SQLite database of Prefect's server, all at once."""

import re
import sqlite3
from contextlib import closing, suppress
from importlib import metadata
from pathlib import Path

TABLES = Path(__file__).with_name("tables.sql")


def prepare_database(url: str) -> bool:
    """Create the tables of an empty SQLite database; return whether it needs no migration.

    `tables.sql` holds the tables that `prefect server database upgrade` makes step by step, for
    the version of Prefect that its first line names, the oldest that pyproject.toml allows. A newer
    one brings them forward by its own migrations; any other database is left to Prefect.
    """
    from sqlalchemy import make_url

    schema = TABLES.read_text(encoding="utf-8")
    made_for = re.match(r"-- Prefect ([\d.]+\d)", schema)
    revision = re.search(r"INSERT INTO \"alembic_version\" VALUES\('(\w+)'\)", schema)
    assert made_for and revision
    if not url:  # Prefect's settings name the parts of an address
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
    return rows == [(revision[1],)] and made_for[1] == metadata.version("prefect")

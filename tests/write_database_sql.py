"""Writes runtime/server/tables.sql, after a new version of Prefect: `make database`."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

TARGET = Path(__file__).parent.parent / "{{ cookiecutter.project_slug }}/runtime/server/tables.sql"
HEAD = """\
-- Prefect {}: the tables of an empty database, as `prefect server database upgrade` leaves them.
-- Prefect is licensed under Apache-2.0, https://github.com/PrefectHQ/prefect
"""


def main() -> None:
    """Let Prefect make an empty database, and write the statements that make the same one."""
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
            env={**os.environ, "PREFECT_HOME": home},
            cwd=home,
            check=True,
        )
        database = sqlite3.connect(Path(home, "prefect.db"))
        statements = [
            text for text in database.iterdump() if not text.startswith(("BEGIN", "COMMIT"))
        ]
        database.close()
    lines = [line.rstrip() for line in "\n".join(statements).splitlines()]
    head = HEAD.format(metadata.version("prefect"))
    TARGET.write_text(head + "\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""Takes the newest packages into the template, beyond its bounds where there are newer ones.

`make upgrade` runs this, then a new project and its tests. It writes the bounds and the date in the
project's pyproject.toml, its requirements.txt, the tables of an empty database of Prefect's, and
the pins of the benchmark; and prints what has changed.
"""

import os
import re
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import Version

REPO = Path(__file__).parent.parent
PROJECT = REPO / "{{ cookiecutter.project_slug }}"
PYPROJECT = PROJECT / "pyproject.toml"
REQUIREMENTS = PROJECT / "requirements.txt"
TABLES = PROJECT / "runtime" / "server" / "tables.sql"
PEERS = REPO / "benchmarks" / "peers"
COMPILE = ("uv", "pip", "compile", "--quiet", "--universal", "--no-annotate", "--no-header")
BOUNDED = re.compile(
    r'"(?P<name>[a-z0-9-]+)(?P<extra>\[\w+\])?>=(?P<low>[\d.]+),<(?P<high>[\d.]+)"'
)
REQUIREMENTS_HEAD = """\
# The versions that `uv run` takes, on every platform, for pip; made from pyproject.toml with
# uv pip compile --universal --group dev pyproject.toml -o requirements.txt
"""
TABLES_HEAD = """\
-- Prefect {}: the tables of an empty database, as `prefect server database upgrade` leaves them.
-- Prefect is licensed under Apache-2.0, https://github.com/PrefectHQ/prefect"""


def main() -> None:
    """Upgrade bounds, versions, tables and pins."""
    before = versions(REQUIREMENTS.read_text(encoding="utf-8"))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = PYPROJECT.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^exclude-newer = ".*?"', f'exclude-newer = "{now}"', text)
    unbounded = BOUNDED.sub(r'"\g<name>\g<extra>>=\g<low>"', text)
    newest = versions(compiled(unbounded, "--all-extras")) | versions(compiled(unbounded))
    text = BOUNDED.sub(lambda bounds: raised(bounds, newest), text)
    PYPROJECT.write_text(text, encoding="utf-8", newline="\n")
    REQUIREMENTS.write_text(REQUIREMENTS_HEAD + compiled(text), encoding="utf-8", newline="\n")
    write_tables()
    for path in sorted(PEERS.glob("*/requirements.txt")):
        renew(path)

    after = versions(REQUIREMENTS.read_text(encoding="utf-8"))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            print(f"{name:<28} {before.get(name, '-'):>14} → {after.get(name, '-')}")
    print("Read what is new in those that the flows use, then `git diff`.")


def versions(requirements: str) -> dict[str, str]:
    """Return each version by the name of its package; the newest where platforms differ."""
    pins = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", requirements)
    return dict(sorted(pins, key=lambda pin: Version(pin[1])))


def compiled(pyproject: str, *options: str) -> str:
    """Return the exact versions to which a pyproject.toml of the template resolves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pyproject.toml")
        path.write_text(re.sub(r"\{\{.*?\}\}", "x", pyproject), encoding="utf-8")
        done = subprocess.run(
            [*COMPILE, *options, "--group", "dev", path.name],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
    return done.stdout


def raised(bounds: re.Match[str], newest: dict[str, str]) -> str:
    """Return the bounds of a package, above the newest version; Prefect's begin at it.

    The tables of an empty database are those of that version of Prefect.
    """
    version, low, high = Version(newest[bounds["name"]]), bounds["low"], bounds["high"]
    if version >= Version(high):
        fixed = high.split(".")[:-1]  # `<0.13` becomes `<0.14`, `<4` becomes `<5`
        parts = [*map(str, version.release[: len(fixed)]), str(version.release[len(fixed)] + 1)]
        high = ".".join(parts)
    if bounds["name"] == "prefect":
        low = str(version)
    return f'"{bounds["name"]}{bounds["extra"] or ""}>={low},<{high}"'


def write_tables() -> None:
    """Let the new Prefect make an empty database, and write the statements that make the same."""
    prefect = versions(REQUIREMENTS.read_text(encoding="utf-8"))["prefect"]
    with tempfile.TemporaryDirectory() as home:
        tool = ["uv", "run", "--no-project", "--with-requirements", str(REQUIREMENTS), "prefect"]
        subprocess.run(
            [*tool, "server", "database", "upgrade", "--yes"],
            env={**os.environ, "PREFECT_HOME": home},
            cwd=home,
            check=True,
        )
        with closing(sqlite3.connect(Path(home, "prefect.db"))) as database:
            statements = list(database.iterdump())
    # In an order of their own: that of the migrations is another one each time.
    tables = [with_sorted_columns(text) for text in statements if text.startswith("CREATE TABLE")]
    other_kinds = ("INSERT", "CREATE INDEX", "CREATE UNIQUE INDEX")
    others = [text for text in statements if text.startswith(other_kinds)]
    text = "\n".join([TABLES_HEAD.format(prefect), *sorted(tables), *sorted(others), ""])
    TABLES.write_text(text, encoding="utf-8", newline="\n")


def with_sorted_columns(create_table: str) -> str:
    """Return a CREATE TABLE with its columns in the order of their names, then its constraints."""
    head, _, rest = create_table.partition("(")
    parts, depth = [""], 0
    for character in " ".join(rest.removesuffix(";").rstrip().removesuffix(")").split()):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    lines = sorted((part.strip() for part in parts), key=lambda part: ("CONSTRAINT" in part, part))
    return f"{head}(\n  " + ",\n  ".join(lines) + "\n);"


def renew(path: Path) -> None:
    """Give a peer the versions that our project has, and the newest of its other packages.

    The first line of the file, a comment, names the packages that the peer itself needs.
    """
    names, _, _ = path.read_text(encoding="utf-8").partition("\n")
    done = subprocess.run(
        [*COMPILE, "--python-version", "3.11", "--constraints", str(REQUIREMENTS), "-"],
        input="\n".join(names.split()[1:]),
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    path.write_text(f"{names}\n{done.stdout}", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

"""The raw data: how a table is read from a CSV file."""

import csv
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

LARGEST_NUMBER = 1e150  # its square is still a number, and so are sums of squares
MOST_PROBLEMS_SHOWN = 20
MOST_COLUMNS = 10_000  # checked in about 10 s; with more, a run would take minutes
LONGEST_LINE_BYTES = 2**24
csv.field_size_limit(LONGEST_LINE_BYTES)  # by default 2**17, which a text may well have
LONG_ROW = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")  # as pandas says it
FIRST_LINE = 2  # line of a CSV file in which the row with index 0 stands, after the header


class BadData(ValueError):
    """The raw data cannot be used; the message lists what is wrong, with line and column."""

    exit_code = 2  # an error that has one is shown as a sentence, without a traceback

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(source, problems)
        self.source, self.problems = source, problems

    def __str__(self) -> str:
        lines = [f"  - {problem}" for problem in self.problems[:MOST_PROBLEMS_SHOWN]]
        if more := len(self.problems) - len(lines):
            lines.append(f"  - and {more} more")
        return "\n".join([f"{self.source} cannot be used:", *lines])


def read_csv(path: Path) -> pd.DataFrame:
    """Return the table in a UTF-8 CSV file with a header; lines without any value are left out.

    Columns are separated by commas, or by semicolons or tabs as spreadsheets in Brazil do; then a
    number may be written 0,5 too. A row's index + 2 is its line in the file. Raises `BadData` for a
    file that is missing, empty, in another encoding or no table, for more than MOST_COLUMNS
    columns, and for a column name that is missing or stands twice.
    """
    try:
        _check_text(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            rows = csv.reader(file, delimiter=separator)
            header, first_row = next(rows, []), next(rows, [])
        if problems := _problems_of(header):
            raise BadData(str(path), problems)
        data = _table(path, separator, header, first_row)
    except FileNotFoundError:
        raise BadData(str(path), ["there is no such file: check its path"]) from None
    except UnicodeDecodeError:
        raise BadData(str(path), ["it is not UTF-8 text: save it as “CSV UTF-8”"]) from None
    except (OSError, csv.Error, pd.errors.ParserError) as error:
        reason = str(error).strip().splitlines()[-1]
        if found := LONG_ROW.search(reason):
            problem = "line {1} has {2} values instead of {0}".format(*found.groups())
        else:
            problem = f"it is not a CSV table: {reason}"
        raise BadData(str(path), [problem]) from None
    # Whole numbers that are too large for pandas are Python's, which nothing else can take.
    data = data.astype(dict.fromkeys(data.columns[data.dtypes == "object"], "str"))
    return data.dropna(how="all")


def _problems_of(header: list[str]) -> list[str]:
    if not header:
        return ["its first line is empty: it must hold the names of the columns"]
    if len(header) > MOST_COLUMNS:
        return [f"it has {len(header):,} columns, more than {MOST_COLUMNS:,}"]
    problems = [f"column {name!r} stands twice" for name in _repeated(header)]
    return problems + [
        f"column {i} has no name" for i, name in enumerate(header, 1) if not name.strip()
    ]


def _table(path: Path, separator: str, header: list[str], first_row: list[str]) -> pd.DataFrame:
    """Return the rows below the header.

    pandas would only warn of values that it leaves out, or reads in two ways. Warnings will not do:
    any other thread may switch them off meanwhile.
    """
    # No text file has such names. A row that is longer than the first, pandas refuses by itself.
    nameless = ["\0" * i for i in range(1, 1 + len(first_row) - len(header))]
    columns = [*header, *nameless]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)
        data = _read(path, separator, columns)
    if (data.dtypes == "object").any():
        # A column of numbers up to some line, and of text below it, is one of text: 007 stays 007.
        # Reading the file as a whole takes more time and memory.
        data = _read(path, separator, columns, low_memory=False)
    if nameless:
        if len(too_long := data.index[data[nameless].notna().any(axis=1)]):
            problem = f"line {too_long[0] + FIRST_LINE} has more values than the header has names"
            raise BadData(str(path), [problem])
        data = data.drop(columns=nameless)
    return data


def _read(path: Path, separator: str, columns: list[str], low_memory: bool = True) -> pd.DataFrame:
    return pd.read_csv(
        path,
        sep=separator,
        decimal="." if separator == "," else ",",
        encoding="utf-8-sig",
        skip_blank_lines=False,
        low_memory=low_memory,
        header=0,
        names=columns,
        index_col=False,
    )


def _check_text(path: Path) -> None:
    """Raise `BadData` for what could not be read to its end, or would fill the memory."""
    if path.exists() and not path.is_file():
        raise BadData(str(path), ["it is not a file"])
    with path.open("rb") as file:
        while block := file.read(LONGEST_LINE_BYTES):
            if b"\0" in block:
                problem = (
                    "it holds NUL bytes, as UTF-16, .xlsx and pictures do: save it as “CSV UTF-8”"
                )
                raise BadData(str(path), [problem])
            if len(block) == LONGEST_LINE_BYTES and b"\n" not in block and b"\r" not in block:
                problem = f"a line in it is longer than {LONGEST_LINE_BYTES // 2**20} MB"
                raise BadData(str(path), [problem])


def _repeated(names: list[Any]) -> list[Any]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def printable(text: str, longest: int = 200) -> str:
    """Return a text of the data so that it can stand in a message: short, and nothing invisible."""
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)

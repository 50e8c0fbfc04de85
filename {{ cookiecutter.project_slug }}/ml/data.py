"""The raw data: a table of texts, as a CSV file holds it, and the numbers among them."""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

LARGEST_NUMBER = 1e150  # its square is still finite, and so are sums of squares
MOST_PROBLEMS_SHOWN = 20
LONGEST_ROW_BYTES = 2**24
csv.field_size_limit(LONGEST_ROW_BYTES)  # the default is 2**17, which a text may exceed
FIRST_LINE = 2  # the line in a CSV file of the row with index 0, after the header
LABEL = " (class)"  # ends the name of a class's column where a feature has the same name
SEPARATORS = (",", ";", "\t")

# Common marks of a missing number. In a column of texts, only an empty cell is a gap.
GAPS = ("", "?", "-", ".", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"  # ASCII digits only
MAYBE_THOUSANDS = r"[+-]?[1-9][0-9]{0,2},[0-9]{3}"  # 1,234 may be 1.234 or 1234


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
    """Return the table in a UTF-8 CSV file with a header: each cell is the text in the file.

    An empty cell is a gap; lines without any value are left out. Columns are separated by commas,
    or by semicolons or tabs, as in Brazilian spreadsheets; `attrs["separator"]` is that character.
    A row's index + 2 is its line in the file. Only the first column may lack a name.

    Raises `BadData` for a file that is missing, empty, in another encoding or no table, for a row
    whose length differs from the header's, and for a column name that is missing or occurs twice.
    """
    if not path.is_file():
        raise BadData(str(path), ["there is no such file: check its path"])
    try:
        separator, lines_above = _separator(path)
        data = _read_texts(path, separator, lines_above)
    except UnicodeDecodeError:  # as of UTF-16, .xlsx and pictures
        raise BadData(str(path), ["it is not UTF-8 text: save it as “CSV UTF-8”"]) from None
    except (pa.ArrowInvalid, OSError, csv.Error) as error:
        raise BadData(str(path), [printable(f"it is not a CSV table: {error}")]) from None
    names = [normalized(name) for name in data.columns]
    data.columns = pd.Index(names, dtype="str")
    times = Counter(filter(str.strip, names))
    problems = [f"column {name!r} stands twice" for name in times if times[name] > 1]
    nameless = [i for i, name in enumerate(names, 1) if i > 1 and not name.strip()]
    problems += [f"column {i} has no name" for i in nameless]
    if problems:
        raise BadData(str(path), problems)
    data.attrs["separator"] = separator
    return data.dropna(how="all")


def normalized(text: str) -> str:
    """Return a text in Unicode's form NFC, in which texts that look equal are equal."""
    return unicodedata.normalize("NFC", text)


def to_texts(values: pd.Series) -> pd.Series:
    """Return values as texts in Unicode's form NFC; an empty text is a gap."""
    texts = values.astype("str")
    texts = texts.mask(texts == "")
    return texts if texts.str.isascii().all() else texts.str.normalize("NFC")


def to_numbers(values: pd.Series, separator: str = ",") -> tuple[pd.Series, pd.Series]:
    """Return values as float64, and for each whether it is neither a number nor a gap.

    Both are NaN, and so is a number beyond LARGEST_NUMBER. A decimal comma is accepted if commas do
    not separate the columns.
    """
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.astype("float64")
    else:
        numbers = _parse(values.astype("str"), separator)
    is_number = numbers.between(-LARGEST_NUMBER, LARGEST_NUMBER)
    if is_number.all():
        return numbers, ~is_number
    is_gap = values.isna() | values.astype("str").str.strip().isin(GAPS)
    return numbers.where(is_number), ~is_number & ~is_gap


def _parse(texts: pd.Series, separator: str) -> pd.Series:
    """Return texts as float64, NaN where they are no numbers.

    Commas that may separate thousands make no numbers: all look like 1,234; and some number of the
    column has none, or the file has tabs, as in any country.
    """
    try:
        return _cast(texts)
    except pa.ArrowInvalid:  # not all are plain numbers
        texts = texts.str.strip()
    if separator != ",":
        given = texts[~texts.isin(GAPS)].dropna()
        with_comma = given[given.str.contains(",")]
        is_decimal = not with_comma.str.fullmatch(MAYBE_THOUSANDS).all()
        if is_decimal or (separator == ";" and len(with_comma) == len(given)):
            texts = texts.str.replace(".", "?").str.replace(",", ".")
    return _cast(texts.where(texts.str.fullmatch(NUMBER)))


def printable(text: str, longest: int = 200) -> str:
    """Return a text of the data for a message: shortened, its unprintable characters replaced."""
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _separator(path: Path) -> tuple[str, int]:
    """Return the separator, and the number of lines above the header.

    It is what occurs most in the first line, names in quotes aside; or the first line names it, as
    spreadsheets may write it: `sep=;`.
    """
    with path.open(encoding="utf-8-sig") as file:
        first = re.sub('"[^"]*"', "", file.readline(LONGEST_ROW_BYTES).rstrip("\n"))
    if first.startswith("sep=") and first[4:] in SEPARATORS:
        return first[4:], 1
    return max(SEPARATORS, key=first.count), 0


def _read_texts(path: Path, separator: str, lines_above: int) -> pd.DataFrame:
    """Return all rows as texts, each with its line in the file - 2 as its index."""
    try:
        table = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(block_size=LONGEST_ROW_BYTES, skip_rows=lines_above),
            pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                default_column_type=pa.large_string(),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,  # counting the lines does it
            ),
        )
    except pa.ArrowInvalid as error:
        if "Expected" in str(error):  # "Expected 3 columns, got 4", without the line
            _check_lengths(path, separator, lines_above)
        raise
    with path.open(encoding="utf-8") as file:
        lines = sum(1 for _ in file)
    data: pd.DataFrame = table.to_pandas()
    if lines != 1 + len(data):  # there are other lines, or line breaks within a cell
        starts = [line for line, _ in _rows(path, separator)][lines_above + 1 :]
        data.index = pd.Index(starts, dtype="int64") - FIRST_LINE
    return data


def _rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not a blank line: the number of its first line, and its cells."""
    line = 1
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in (rows := csv.reader(file, delimiter=separator)):
            if row:
                yield line, row
            line = rows.line_num + 1


def _check_lengths(path: Path, separator: str, lines_above: int) -> None:
    """Raise `BadData` for the first row that is not as long as the header."""
    rows = islice(_rows(path, separator), lines_above, None)
    _, header = next(rows, (0, []))
    for line, row in rows:
        if len(row) != len(header):
            problem = f"line {line} has {len(row)} instead of {len(header)} values"
            raise BadData(str(path), [problem])


def _cast(texts: pd.Series) -> pd.Series:
    # pandas would make a Python object of each text: 3 s instead of 0.2 for 1,500,000 x 4.
    return pd.Series(pa.array(texts).cast("float64").to_numpy(False), texts.index, name=texts.name)

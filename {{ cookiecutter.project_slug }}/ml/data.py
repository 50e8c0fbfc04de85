"""The raw data: a table of texts, as a CSV file holds it, and the numbers among them."""

import codecs
import csv
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

LARGEST_NUMBER = 1e150  # its square is still finite, and so are sums of squares
MOST_PROBLEMS_SHOWN = 20
MOST_COLUMNS = 10_000  # checked in about 10 s; with more, a run would take minutes
LONGEST_LINE_BYTES = 2**24
csv.field_size_limit(LONGEST_LINE_BYTES)  # the default is 2**17, which a text may exceed
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
    whose length differs from the header's, for more than MOST_COLUMNS columns, and for a column
    name that is missing or occurs twice.
    """
    try:
        lines = _count_lines(path)
        separator, header, header_lines, width = _read_header(path)
        # Lines may end with separators: their columns get names that no text file has.
        nameless = ["\0" * i for i in range(1, 1 + width - len(header))]
        columns = [*header, *nameless]
        if lines > header_lines:
            data = _table(path, separator, columns, header_lines)
        else:
            data = pd.DataFrame(columns=columns, dtype="str")
    except FileNotFoundError:
        raise BadData(str(path), ["there is no such file: check its path"]) from None
    except UnicodeDecodeError:
        raise BadData(str(path), ["it is not UTF-8 text: save it as “CSV UTF-8”"]) from None
    except pa.ArrowInvalid as error:
        uneven = _uneven_row(path, separator, header_lines, len(columns))
        raise BadData(str(path), [uneven or f"it is not a CSV table: {error}"]) from None
    except (OSError, csv.Error) as error:
        raise BadData(str(path), [f"it is not a CSV table: {error}"]) from None
    if lines != header_lines + len(data):  # lines without values, or line breaks within a cell
        starts = [line for line, row in _rows(path, separator) if row]
        data.index = pd.Index(starts[len(starts) - len(data) :], dtype="int64") - FIRST_LINE
    if len(too_long := data.index[data[nameless].notna().any(axis=1)]):
        problem = f"line {too_long[0] + FIRST_LINE} has more values than the header has names"
        raise BadData(str(path), [problem])
    data.attrs["separator"] = separator
    return data.drop(columns=nameless).dropna(how="all")


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
    numbers = numbers.where(numbers.abs() <= LARGEST_NUMBER)
    is_bad = numbers.isna()
    if is_bad.any():
        is_bad &= values.notna() & ~values.astype("str").str.strip().isin(GAPS)
    return numbers, is_bad


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


def _table(path: Path, separator: str, columns: list[str], header_lines: int) -> pd.DataFrame:
    """Return the rows below the header, as texts."""
    table = pyarrow.csv.read_csv(
        path,
        pyarrow.csv.ReadOptions(
            column_names=columns, skip_rows=header_lines, block_size=2 * LONGEST_LINE_BYTES
        ),
        pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.large_string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    data: pd.DataFrame = table.to_pandas()
    return data


def _cast(texts: pd.Series) -> pd.Series:
    # pandas would make a Python object of each text: 3 s instead of 0.2 for 1,500,000 x 4.
    return pd.Series(pa.array(texts).cast("float64").to_numpy(False), texts.index, name=texts.name)


def _count_lines(path: Path) -> int:
    """Return the number of lines.

    Raises `BadData` for a folder or pipe, for NUL bytes, and for a line that would fill the memory.
    """
    if path.exists() and not path.is_file():
        raise BadData(str(path), ["it is not a file"])
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, last = 0, ""
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
            text = decoder.decode(block)
            lines += text.count("\n") or text.count("\r")
            last = text[-1:]
    decoder.decode(b"", final=True)
    return lines + (last not in ("\n", "\r"))


def _read_header(path: Path) -> tuple[str, list[str], int, int]:
    """Return separator, column names, number of header lines, and length of the first row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        declared = first.strip("\r\n").partition("sep=")[2]  # as spreadsheets may write on top
        if is_declared := first.startswith("sep=") and declared in SEPARATORS:
            separator = declared
        else:
            file.seek(0)
            fields = {mark: next(csv.reader([first], delimiter=mark), []) for mark in SEPARATORS}
            separator = max(SEPARATORS, key=lambda mark: len(fields[mark]))
        rows = csv.reader(file, delimiter=separator)
        header = list(map(normalized, next(rows, [])))
        header_lines = rows.line_num + is_declared
        if problems := _problems_of(header):
            raise BadData(str(path), problems)
        return separator, header, header_lines, len(next(filter(None, rows), header))


def _problems_of(header: list[str]) -> list[str]:
    if not header:
        return ["its first line is empty: it must hold the names of the columns"]
    if len(header) > MOST_COLUMNS:
        return [f"it has {len(header):,} columns, more than {MOST_COLUMNS:,}"]
    twice = sorted(name for name, times in Counter(header).items() if times > 1)
    problems = [f"column {name!r} stands twice" for name in twice]
    return problems + [
        f"column {i} has no name" for i, name in enumerate(header[1:], 2) if not name.strip()
    ]


def _rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not a blank line: the number of its first line, and its cells."""
    line = 1
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in (rows := csv.reader(file, delimiter=separator)):
            if row:
                yield line, row
            line = rows.line_num + 1


def _uneven_row(path: Path, separator: str, header_lines: int, width: int) -> str | None:
    """Return a sentence on the first row below the header with a wrong number of values."""
    for line, row in _rows(path, separator):
        if line > header_lines and len(row) != width:
            return f"line {line} has {len(row)} instead of {width} values"
    return None

"""What must be right in the raw data before anything is computed from it."""

import csv
import math
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from flows import UserError, shown
from flows.models import LARGEST_NUMBER

MOST_PROBLEMS_SHOWN = 20
MOST_COLUMNS = 10_000  # checked in about 10 s; with more, a run would take minutes
MOST_CLASSES = 100  # of which a person can still read the confusion matrix
LONGEST_LINE_BYTES = 2**24
csv.field_size_limit(LONGEST_LINE_BYTES)  # by default 2**17, which a text may well have
DECIMAL_COMMA = r"[+-]?\d[\d.]*,[\d,]*\d(\.\d+)?"  # 0,5 and 1.000,5; also 1,000.5
LONG_ROW = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")  # as pandas says it
WRITE_POINTS = "has numbers such as 0,5 or 1.000,5: write 0.5 and 1000.5"
FIRST_LINE = 2  # line of a CSV file in which the row with index 0 stands, after the header


class BadData(UserError):
    """The raw data cannot be used; the message lists what is wrong, with line and column."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(source, problems)
        self.source, self.problems = source, problems

    def __str__(self) -> str:
        shown = [f"  - {problem}" for problem in self.problems[:MOST_PROBLEMS_SHOWN]]
        if more := len(self.problems) - len(shown):
            shown.append(f"  - and {more} more")
        return "\n".join([f"{self.source} cannot be used:", *shown])


def read_csv(path: Path) -> pd.DataFrame:
    """Return the table in a UTF-8 CSV file with a header; lines without any value are left out.

    Columns are separated by commas, or by semicolons or tabs as spreadsheets in Brazil do; then a
    number may be written 0,5 too. A row's index + 2 is its line in the file. Raises `BadData` for a
    file that is missing, empty, in another encoding or no table, for more than MOST_COLUMNS
    columns, and for a column name that is missing or stands twice.
    """
    try:
        _refuse_what_is_no_text(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            rows = csv.reader(file, delimiter=separator)
            header, first_row = next(rows, []), next(rows, [])
        if problems := _problems_of(header):
            raise BadData(str(path), problems)
        data = _table(path, separator, header, first_row)
    except FileNotFoundError:
        raise BadData(str(path), ["there is no such file: check raw_path"]) from None
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


def _refuse_what_is_no_text(path: Path) -> None:
    """Raise `BadData` for what would be waited for without end, or would fill the memory."""
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


def checked(data: pd.DataFrame, target_col: str, test_data_ratio: float) -> pd.DataFrame:
    """Return the data with each feature column either float64 or text.

    A feature is one of numbers where more than half of its values are. Raises `BadData` for no
    rows, a missing target column, text or infinity in a column of numbers, a column without
    values, a row without class, fewer than two classes, a class with a single row, and a ratio
    that leaves a class without a row for training or for testing.
    """
    if target_col not in data.columns:
        known = shown(", ".join(repr(str(name)) for name in data.columns))
        raise BadData("The raw data", [f"there is no column {target_col!r}; there are {known}"])
    if data.empty:
        raise BadData("The raw data", ["it has no rows"])

    columns = {name: _feature_rules(data[name]) for name in data.columns if name != target_col}
    columns[target_col] = _target_rules(data[target_col], test_data_ratio)
    if len(columns) == 1:
        raise BadData("The raw data", [f"it has no column beside {target_col!r}"])
    if both := sorted(set(map(str, data[target_col].dropna().unique())) & set(columns)):
        raise BadData("The raw data", [f"{name!r} names a class and a column" for name in both])
    try:
        # A shallow copy: pandas copies what pandera changes, where pandera would copy everything.
        own = data.copy(deep=False)
        data = pa.DataFrameSchema(columns).validate(own, lazy=True, inplace=True)
    except SchemaErrors as errors:
        raise BadData("The raw data", _in_words(errors.failure_cases)) from None
    texts = data.columns.difference([target_col, *data.select_dtypes("float64").columns])
    return data.astype(dict.fromkeys(texts, "str"))


def _feature_rules(values: pd.Series) -> pa.Column:
    has_values = pa.Check(_has_values, error="has no values", ignore_na=False)
    if not _is_number_column(values):
        has_points = pa.Check(_has_no_decimal_comma, error=WRITE_POINTS)
        return pa.Column(nullable=True, checks=[has_values, has_points])
    is_finite = pa.Check(_is_finite, error=f"is infinite, or beyond {LARGEST_NUMBER:.0e}")
    return pa.Column(float, nullable=True, coerce=True, checks=[has_values, is_finite])


def _target_rules(classes: pd.Series, test_data_ratio: float) -> pa.Column:
    rows_of_class = classes.value_counts()  # once: in a column of texts, that takes its time
    number_of_classes = len(rows_of_class)
    single_rows = rows_of_class.index[rows_of_class == 1]
    rows = int(rows_of_class.sum())
    rows_for_test = math.ceil(rows * test_data_ratio)
    rows_for_training = rows - rows_for_test
    rarest = rows_of_class[rows_of_class > 1].min()  # a single row is another rule's matter
    fewest = min(rows_for_test, rows_for_training)
    leaves_rows = fewest >= number_of_classes and not rarest * rows_for_training < rows
    return pa.Column(
        nullable=False,
        checks=[
            pa.Check(lambda _: number_of_classes >= 2, error="has fewer than two classes"),
            pa.Check(
                lambda _: number_of_classes <= MOST_CLASSES,
                error=f"has more than {MOST_CLASSES} classes: is it the right target_col?",
            ),
            pa.Check(
                lambda values: ~values.isin(single_rows), error="is a class with a single row"
            ),
            pa.Check(
                lambda _: leaves_rows,
                error=f"has too few rows: test_data_ratio={test_data_ratio} leaves a class "
                "without a row for training or for testing",
            ),
        ],
    )


def _has_values(values: pd.Series) -> bool:
    return bool(values.notna().any())


def _has_no_decimal_comma(values: pd.Series) -> bool:
    some = values.head(1000).dropna().astype("str").str.strip()
    return not some.str.fullmatch(DECIMAL_COMMA).mean() > 0.5


def _is_finite(values: pd.Series) -> pd.Series:
    # Text, which is NaN here, is another rule's matter.
    return ~(pd.to_numeric(values, errors="coerce").abs() > LARGEST_NUMBER)


def _is_number_column(values: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(values):
        return False
    numbers = pd.to_numeric(values, errors="coerce")
    return bool(numbers.notna().sum() * 2 > values.notna().sum())


def _in_words(failures: pd.DataFrame) -> list[str]:
    """Return pandera's failure cases as one short text each, in the order of the lines."""
    problems = []
    for failure in failures.sort_values("index", na_position="first").to_dict("records"):
        place = f"column {shown(repr(failure['column']))}"
        if pd.notna(failure["index"]):
            place = f"line {int(failure['index']) + FIRST_LINE}, {place}"
            if pd.notna(failure["failure_case"]):
                place += f", {shown(repr(failure['failure_case']))}"
        problems.append(f"{place} {_reason(str(failure['check']))}")
    return list(dict.fromkeys(problems))


def _reason(check: str) -> str:
    if check == "not_nullable":
        return "is empty"
    if "dtype" in check:
        return "is not a number"
    return check


def _repeated(names: list[Any]) -> list[Any]:
    return sorted(name for name, times in Counter(names).items() if times > 1)

"""Checks of the raw data before anything is computed from it, and what is left out of it."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from ml.data import (
    FIRST_LINE,
    LABEL,
    LARGEST_NUMBER,
    BadData,
    is_no_number,
    may_be_thousands,
    normalized,
    printable,
    to_numbers,
    to_texts,
)

MOST_CLASSES = 100  # with more, nobody can read the confusion matrix
FEWEST_FRACTIONS = 10  # from this many different numbers on, a target with fractions is no class
FEW_TEXTS = 20  # up to this many texts may all differ without being names or remarks
DATE = r"\d{4}-\d{1,2}-\d{1,2}([ T].*)?|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}( .*)?|\d\d?/\d\d?/\d\d"
DECIMAL_COMMA = r"[+-]?\d[\d.]*,[\d,]*\d(\.\d+)?"  # 0,5 and 1.000,5; also 1,000.5
WRITE_PLAIN = "has numbers such as 1,234, which may be 1.234 or 1234: write them without a comma"
WRITE_POINTS = "has numbers such as 0,5 or 1.000,5: write 0.5 and 1000.5"


def check_table(
    data: pd.DataFrame,
    target_col: str,
    test_data_ratio: float,
    drop_cols: Sequence[str] = (),
    unlabelled: str = "refuse",
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the data, with each feature column as float64 or text, and a summary of it.

    A feature is numeric if more than half of its values, gaps aside, are numbers. Left out are the
    columns `drop_cols`, columns of dates, columns of texts that nearly all differ, a nameless first
    column that is an index, and with `unlabelled="drop"` rows without a class.

    The summary, for run.json and the report, has the number of `rows` read, `rows_left_out`, the
    `columns` and their kinds, `columns_left_out` with the reasons, and the number of `gaps` by
    column.

    Raises `BadData` if `target_col` or one of `drop_cols` is missing, for no rows or no feature,
    text, infinity or decimal commas in a column of numbers, a column without values, a row without
    a class, a target of fractions, fewer than two or more than MOST_CLASSES classes, a class with a
    single row, and a ratio that leaves a class without a row for training or for testing.
    """
    data = data.rename(columns=lambda name: normalized(str(name)))
    target_col, dropped = normalized(target_col), [normalized(name) for name in drop_cols]
    _check_names(data, target_col, dropped)
    summary: dict[str, Any] = {"rows": len(data)}
    labels = to_texts(data[target_col])
    if unlabelled == "drop":
        labels = labels.dropna()
        data = data.loc[labels.index]
    summary["rows_left_out"] = summary["rows"] - len(data)
    problems = _target_problems(labels, test_data_ratio)

    kinds, columns, rules = {}, {}, {}
    left_out = dict.fromkeys(dropped, "drop_cols names it")
    for name in data.columns.difference([target_col, *dropped], sort=False):
        kind, values, rule = _feature(data[name], data.attrs.get("separator", ","))
        if reason := _why_left_out(name, kind, values):
            left_out[name] = reason
        else:
            kinds[name], columns[name], rules[name] = kind, values, rule
    if not columns:
        reasons = "".join(f"; {name!r}: {reason}" for name, reason in left_out.items())
        problem = printable(f"it has no column other than {target_col!r}{reasons}", 500)
        raise BadData("The raw data", [problem])
    problems += ["column 1 has no name" for name in columns if not name.strip()]
    for name in sorted({f"{name}{LABEL}" for name in labels.unique()} & columns.keys()):
        problems.append(f"column {printable(repr(name))} is called like a class: rename it")
    checked = pd.DataFrame(columns, index=data.index)
    try:
        pa.DataFrameSchema(rules).validate(checked, lazy=True, inplace=True)
    except SchemaErrors as errors:
        problems += _problems(errors.failure_cases)
    if problems:
        raise BadData("The raw data", problems)
    checked[target_col] = labels
    summary |= {"columns": kinds, "columns_left_out": left_out}
    gaps = checked.isna().sum()
    summary["gaps"] = {name: int(number) for name, number in gaps.items() if number}
    return checked, summary


def notes(data: pd.DataFrame, summary: dict[str, Any]) -> list[str]:
    """Return sentences for the log: what is left out, which gaps are filled, and some advice."""
    lines = []
    if number := summary["rows_left_out"]:
        lines.append(f"Rows without a class, left out: {number} of {summary['rows']}.")
    for name, reason in summary["columns_left_out"].items():
        lines.append(f"Column {name!r} is left out: {reason}.")
    for name, kind in summary["columns"].items():
        if kind == "number" and name in summary["gaps"]:
            number = summary["gaps"][name]
            lines.append(f"Column {name!r} has {number} gaps, which the model fills.")
        if (data[name] == data[name].iloc[0]).all():
            lines.append(f"Column {name!r} has only one value: drop_cols={name} leaves it out.")
        elif kind == "number" and (data[name].diff().iloc[1:] == 1).all():
            lines.append(f"Column {name!r} counts the rows: drop_cols={name} leaves it out.")
    return [printable(line, 500) for line in lines]


def _check_names(data: pd.DataFrame, target_col: str, drop_cols: list[str]) -> None:
    known = printable(", ".join(map(repr, data.columns)))
    problems = [
        f"there is no column {name!r}; there are {known}"
        for name in [target_col, *drop_cols]
        if name not in data.columns
    ]
    if target_col in drop_cols:
        problems.append(f"drop_cols names the target column {target_col!r}")
    if data.empty:
        problems.append("it has no rows")
    if problems:
        raise BadData("The raw data", problems)


def _target_problems(labels: pd.Series, test_data_ratio: float) -> list[str]:
    """Return the problems of the target column, each kind as one sentence."""
    column = f"column {printable(repr(labels.name))}"
    problems = []
    if (is_empty := labels.isna()).any():
        where = _lines(labels.index[is_empty])
        problems.append(f"{column} is empty in {where}; unlabelled=drop leaves such rows out")
    rows_of_class = labels.value_counts()
    classes = len(rows_of_class)
    if classes >= FEWEST_FRACTIONS and _has_fractions(rows_of_class.index):
        raise BadData(
            "The raw data",
            [
                f"{column} has {classes} different numbers with fractions, such as "
                f"{rows_of_class.index[0]}: this project predicts classes. Make a few classes of "
                "the numbers in `load_data`, or another model and report in ml/"
            ],
        )
    if classes < 2:
        problems.append(f"{column} has fewer than two classes")
    elif classes > MOST_CLASSES:
        return [
            *problems,
            f"{column} has {classes} classes, more than {MOST_CLASSES}: is it the "
            "right target_col?",
        ]
    if len(single := labels.index[labels.isin(rows_of_class.index[rows_of_class == 1])]):
        names = printable(", ".join(map(repr, labels[single])))
        problems.append(
            f"{column} has a single row of the class {names}, in {_lines(single)}: one row cannot "
            "be learnt from and tested with; leave it out, or join classes"
        )
    rows = int(rows_of_class.sum())
    rows_for_test = math.ceil(rows * test_data_ratio)
    rows_for_training = rows - rows_for_test
    rarest = rows_of_class[rows_of_class > 1].min()  # another rule covers single rows
    if min(rows_for_test, rows_for_training) < classes or rarest * rows_for_training < rows:
        problems.append(
            f"{column} has too few rows: test_data_ratio={test_data_ratio} leaves a class without "
            "a row for training or for testing"
        )
    return problems


def _has_fractions(texts: pd.Index) -> bool:
    numbers = to_numbers(texts.to_series(), ";")
    return bool(numbers.notna().all() and (numbers % 1 != 0).any())


def _lines(index: pd.Index) -> str:
    """Return "line 2", or the number of lines and the first five."""
    if len(index) == 1:
        return f"line {index[0] + FIRST_LINE}"
    some = ", ".join(str(row + FIRST_LINE) for row in index[:5])
    return f"{len(index)} lines ({some}{', …' if len(index) > 5 else ''})"


def _feature(values: pd.Series, separator: str) -> tuple[str, pd.Series, pa.Column]:
    """Return a column's kind, its values as that kind, and the checks that they must pass."""
    has_values = pa.Check(lambda some: some.notna().any(), error="has no values", ignore_na=False)
    numbers = to_numbers(values, separator)
    is_bad = is_no_number(values, numbers)
    if not numbers.notna().sum() > is_bad.sum():
        has_points = pa.Check(_has_no_decimal_comma, error=WRITE_POINTS)
        return "text", to_texts(values), pa.Column(nullable=True, checks=[has_values, has_points])
    if is_bad.any():  # unconverted, so that the message shows the text
        is_number = pa.Check(lambda some: ~is_bad[some.index], error="is not a number")
        return "number", values, pa.Column(nullable=True, checks=is_number)
    is_finite = pa.Check(
        lambda some: some.abs() <= LARGEST_NUMBER,
        error=f"is infinite, or beyond {LARGEST_NUMBER:.0e}",
    )
    is_clear = pa.Check(lambda _: not may_be_thousands(values, separator), error=WRITE_PLAIN)
    return "number", numbers, pa.Column("float64", nullable=True, checks=[is_finite, is_clear])


def _has_no_decimal_comma(texts: pd.Series) -> bool:
    return not texts.head(1000).str.strip().str.fullmatch(DECIMAL_COMMA).mean() > 0.5


def _why_left_out(name: str, kind: str, values: pd.Series) -> str | None:
    if not name.strip() and values.is_unique:  # as pandas and R write the index of a table
        return "it has no name, and differs in each row"
    if kind == "number":
        return None
    texts = values.dropna()
    if texts.str.fullmatch(DATE).mean() > 0.5:
        return "it holds dates"
    different = texts.nunique()
    if different > FEW_TEXTS and different > 0.9 * len(texts):
        return f"{different} of its {len(texts)} texts are different, as names and remarks are"
    return None


def _problems(failures: pd.DataFrame) -> list[str]:
    """Return pandera's failure cases as one short text each, in the order of the lines."""
    problems = []
    for failure in failures.sort_values("index", na_position="first").to_dict("records"):
        place = f"column {printable(repr(failure['column']))}"
        if pd.notna(failure["index"]):
            place = f"line {int(failure['index']) + FIRST_LINE}, {place}"
            if pd.notna(failure["failure_case"]):
                place += f", {printable(repr(failure['failure_case']))}"
        problems.append(f"{place} {failure['check']}")
    return list(dict.fromkeys(problems))

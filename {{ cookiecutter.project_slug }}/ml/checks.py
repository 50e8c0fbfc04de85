"""Checks of the raw data before anything is computed from it, and what is left out of it."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ml.data import FIRST_LINE, LABEL, BadData, normalized, printable, to_numbers, to_texts

MOST_CLASSES = 100  # with more, nobody can read the confusion matrix
FEWEST_FRACTIONS = 10  # from this many different numbers on, a target with fractions is no class
FEW_TEXTS = 20  # up to this many texts may all differ without being names or remarks
DATE = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}( .*)?|\d\d?/\d\d?/\d\d"
)
WITH_COMMA = r"[+-]?\d[\d.]*,[\d,]*\d(\.\d+)?"  # 0,5 and 1.000,5; also 1,000.5


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
    text, infinity or unclear commas in a column of numbers, a column without values, a row without
    a class, a target of fractions, fewer than two or more than MOST_CLASSES classes, a class with a
    single row, and a ratio that leaves a class without a row for training or for testing.
    """
    data = data.rename(columns=lambda name: normalized(str(name)))
    if not pd.api.types.is_integer_dtype(data.index):  # as in Parquet, which has no lines
        data = data.reset_index(drop=True)
    target_col, dropped = normalized(target_col), [normalized(name) for name in drop_cols]
    _check_names(data, target_col, dropped)
    rows, labels = len(data), to_texts(data[target_col])
    if unlabelled == "drop":
        labels = labels.dropna()
        data = data.loc[labels.index]

    kinds, columns = {}, {}
    faults: list[tuple[int, str]] = []
    left_out = dict.fromkeys(dropped, "drop_cols names it")
    for name in data.columns.difference([target_col, *dropped], sort=False):
        kind, values, found = _feature(data[name], data.attrs.get("separator", ","))
        if reason := _why_left_out(name, kind, values):
            left_out[name] = reason
        else:
            kinds[name], columns[name] = kind, values
            faults += found
    if not columns:
        reasons = "".join(f"; {name!r}: {reason}" for name, reason in left_out.items())
        problem = printable(f"it has no column other than {target_col!r}{reasons}", 500)
        raise BadData("The raw data", [problem])
    problems = _target_problems(labels, test_data_ratio)
    problems += ["column 1 has no name" for name in columns if not name.strip()]
    for name in sorted({f"{name}{LABEL}" for name in labels.unique()} & columns.keys()):
        problems.append(f"column {printable(repr(name))} is called like a class: rename it")
    problems += [fault for _, fault in sorted(faults)]
    if problems:
        raise BadData("The raw data", problems)
    checked = pd.DataFrame(columns, index=data.index, copy=False)
    gaps = checked.isna().sum()
    checked[target_col] = labels
    return checked, {
        "rows": rows,
        "rows_left_out": rows - len(data),
        "columns": kinds,
        "columns_left_out": left_out,
        "gaps": {name: int(number) for name, number in gaps.items() if number},
    }


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
    numbers, _ = to_numbers(rows_of_class.index.to_series(), ";")
    if classes >= FEWEST_FRACTIONS and numbers.notna().all() and (numbers % 1 != 0).any():
        return [
            f"{column} has {classes} different numbers with fractions, such as "
            f"{rows_of_class.index[0]}: this project predicts classes. Make a few classes of "
            "the numbers in `load_data`, or another model and report in ml/"
        ]
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
            "a row for training, or fewer rows for testing than there are classes"
        )
    return problems


def _lines(index: pd.Index) -> str:
    """Return "line 2", or the number of lines and the first five."""
    if len(index) == 1:
        return f"line {index[0] + FIRST_LINE}"
    some = ", ".join(str(row + FIRST_LINE) for row in index[:5])
    return f"{len(index)} lines ({some}{', …' if len(index) > 5 else ''})"


def _feature(values: pd.Series, separator: str) -> tuple[str, pd.Series, list[tuple[int, str]]]:
    """Return a column's kind, its values as that kind, and what is wrong with them.

    Each fault comes with the row to sort it by, -1 for one of the whole column.
    """
    column = f"column {printable(repr(values.name))}"
    numbers, is_bad = to_numbers(values, separator)
    bad = values[is_bad].astype("str")
    with_comma = bad[bad.str.strip().str.fullmatch(WITH_COMMA)]
    if 2 * len(with_comma) > len(bad):
        example, where = printable(with_comma.iloc[0], 50), _lines(with_comma.index)
        fault = f"{column} has numbers such as {example} in {where}: write them like 1234.5"
        return "number", numbers, [(-1, fault)]
    if numbers.notna().sum() > len(bad):
        faults = [
            (row, f"line {row + FIRST_LINE}, {column}, {printable(repr(text))} is not a number")
            for row, text in zip(bad.index, bad, strict=True)
        ]
        return "number", numbers, faults
    texts = to_texts(values)
    return "text", texts, [] if texts.notna().any() else [(-1, f"{column} has no values")]


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

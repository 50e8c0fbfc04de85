"""What must be right in the raw data before anything is computed from it."""

import math

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from ml.data import FIRST_LINE, LARGEST_NUMBER, BadData, printable

MOST_CLASSES = 100  # of which a person can still read the confusion matrix
DECIMAL_COMMA = r"[+-]?\d[\d.]*,[\d,]*\d(\.\d+)?"  # 0,5 and 1.000,5; also 1,000.5
WRITE_POINTS = "has numbers such as 0,5 or 1.000,5: write 0.5 and 1000.5"


def check_table(data: pd.DataFrame, target_col: str, test_data_ratio: float) -> pd.DataFrame:
    """Return the data with each feature column either float64 or text.

    A feature is one of numbers where more than half of its values are. Raises `BadData` for no
    rows, a missing target column, text or infinity in a column of numbers, a column without
    values, a row without class, fewer than two classes, a class with a single row, and a ratio
    that leaves a class without a row for training or for testing.
    """
    if target_col not in data.columns:
        known = printable(", ".join(repr(str(name)) for name in data.columns))
        raise BadData("The raw data", [f"there is no column {target_col!r}; there are {known}"])
    if data.empty:
        raise BadData("The raw data", ["it has no rows"])

    columns = {name: _feature_rules(data[name]) for name in data.columns if name != target_col}
    columns[target_col] = _target_rules(data[target_col], test_data_ratio)
    if len(columns) == 1:
        raise BadData("The raw data", [f"it has no column other than {target_col!r}"])
    if both := sorted(set(map(str, data[target_col].dropna().unique())) & set(columns)):
        raise BadData("The raw data", [f"{name!r} names a class and a column" for name in both])
    try:
        # A shallow copy: pandas copies what pandera changes, where pandera would copy everything.
        own = data.copy(deep=False)
        data = pa.DataFrameSchema(columns).validate(own, lazy=True, inplace=True)
    except SchemaErrors as errors:
        raise BadData("The raw data", _problems(errors.failure_cases)) from None
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


def _problems(failures: pd.DataFrame) -> list[str]:
    """Return pandera's failure cases as one short text each, in the order of the lines."""
    problems = []
    for failure in failures.sort_values("index", na_position="first").to_dict("records"):
        place = f"column {printable(repr(failure['column']))}"
        if pd.notna(failure["index"]):
            place = f"line {int(failure['index']) + FIRST_LINE}, {place}"
            if pd.notna(failure["failure_case"]):
                place += f", {printable(repr(failure['failure_case']))}"
        problems.append(f"{place} {_reason(str(failure['check']))}")
    return list(dict.fromkeys(problems))


def _reason(check: str) -> str:
    if check == "not_nullable":
        return "is empty"
    if "dtype" in check:
        return "is not a number"
    return check

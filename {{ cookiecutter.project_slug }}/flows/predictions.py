"""Predicts with the newest model, without Prefect, so that a prediction takes no server."""

from pathlib import Path
from typing import Any

import pandas as pd

from flows import UserError
from flows.models import newest_model


def predict_row(values: list[str]) -> str:
    """Return class and probability for one row of feature values, in the order of training."""
    model = newest_model()
    features = list(model.feature_names_in_)
    if len(values) != len(features):
        raise UserError(f"The model needs {len(features)} values: {', '.join(features)}.")
    answer = _predict(model, pd.DataFrame([values], columns=features)).iloc[0]
    return f"{answer['class']} (probability {answer['probability']:.3f})"


def predict_file(path: Path) -> str:
    """Return the rows of a CSV file, as CSV, with the columns class and probability added."""
    from flows.checks import read_csv

    model = newest_model()
    rows = read_csv(path)
    missing = [name for name in model.feature_names_in_ if name not in rows.columns]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}.")
    return rows.join(_predict(model, rows)).to_csv(index=False, lineterminator="\n").rstrip("\n")


def _predict(model: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the likeliest class of each row, and its probability from 0 to 1."""
    features = rows[list(model.feature_names_in_)].copy()
    for kind, _, names in model.named_steps["columns"].transformers_:
        for name in names:
            features[name] = (
                _as_numbers(features[name]) if kind == "numbers" else features[name].astype("str")
            )
    probabilities = model.predict_proba(features)
    return pd.DataFrame(
        {
            "class": model.classes_[probabilities.argmax(axis=1)],
            "probability": probabilities.max(axis=1),
        },
        index=rows.index,
    )


def _as_numbers(values: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(values).astype("float64")
    except ValueError as error:
        raise UserError(f"{values.name} must be a number: {error}.") from None

"""The model: how it is built, what `tune` tries, and how rows are predicted."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import loguniform
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterSampler, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ml.data import BadData, printable, to_numbers, to_texts

# What `tune` tries: parameters of the pipeline below, with values from a list or drawn from a
# SciPy distribution.
SEARCH_SPACE: dict[str, Any] = {
    "C": loguniform(1e-3, 1e3),
    "class_weight": [None, "balanced"],
    "columns__numbers__simpleimputer__strategy": ["mean", "median"],
}


def new_model(params: Mapping[str, Any] | None = None) -> Pipeline:
    """Return an unfitted model.

    Numbers are scaled and their gaps filled with the mean; any other column is one-hot encoded,
    a gap being a value of its own, and a text that training never saw is ignored. A step that
    derives features goes in front of these, so that `predict` derives them, too.

    `params` are parameters of the classifier, such as `C`, or of a step, with its name in front, as
    scikit-learn writes them (`columns__numbers__simpleimputer__strategy`). Raises `ValueError` for
    one that does not exist.
    """
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("texts", texts, make_column_selector(dtype_exclude="number")),
        ]
    )
    classifier = LogisticRegression(C=1.0, max_iter=200)
    model = Pipeline([("columns", columns), ("classifier", classifier)])
    for name, value in (params or {}).items():
        model.set_params(**{name if "__" in name else f"classifier__{name}": value})
    return model


def train(
    train_x: pd.DataFrame, train_y: pd.Series, params: Mapping[str, Any] | None = None
) -> Pipeline:
    """Return a model fitted to the training set; it predicts the names of the classes.

    `train_x` has a row for each of `train_y`. As `params_` the model has the parameters given, as
    `schema_` its classes and the kind of each feature. Raises `BadData` for a parameter that the
    model does not have, and for a value that it does not allow.
    """
    try:
        model = new_model(params).fit(train_x, _labels(train_y))
    except (ValueError, TypeError, AttributeError) as error:  # the last for `C__x`
        if not params:
            raise
        raise BadData("model_params", [printable(" ".join(str(error).split()), 500)]) from None
    model.params_ = dict(params or {})
    model.schema_ = {
        "classes": [str(name) for name in model.classes_],
        "features": {name: _describe(train_x[name]) for name in train_x},
    }
    return model


def draw_candidates(number: int, seed: int) -> list[dict[str, Any]]:
    """Return `number` candidates drawn from SEARCH_SPACE; a larger number extends the same list."""
    drawn = ParameterSampler(SEARCH_SPACE, number, random_state=seed)
    return [{name: _plain(value) for name, value in candidate.items()} for candidate in drawn]


def check_folds(train_y: pd.Series, folds: int) -> None:
    """Raise `BadData` where a class has fewer rows than there are folds."""
    rows = train_y.value_counts()
    if rows.min() < folds:
        problem = f"the class {printable(str(rows.idxmin()))} has only {rows.min()} rows in it"
        raise BadData(f"The training set, for folds={folds},", [problem])


def cross_validate(
    train_x: pd.DataFrame, train_y: pd.Series, params: Mapping[str, Any], folds: int, seed: int
) -> list[float]:
    """Return a candidate's accuracy (0 to 1) on each fold, trained on the others.

    Each class has the same share in every fold.
    """
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    model, labels = new_model(params), _labels(train_y)
    scores = cross_val_score(model, train_x, labels, cv=parts, error_score="raise")
    return [float(score) for score in scores]


def predict_rows(
    model: Pipeline, rows: pd.DataFrame, all_probabilities: bool = False
) -> pd.DataFrame:
    """Return the `class` of each row, and its `probability` (0 to 1) where the model gives one.

    `rows` has the columns of the raw data, as texts or as numbers: the model's schema alone says
    what a cell means, never another row. With `all_probabilities` the columns are `probability of
    <class>`. If `rows` has a column of such a name, the new one gets the suffix `_predicted`.

    Raises `BadData` for a missing column, for a text where a number is needed, and for a model that
    gives no probabilities where all are wanted.
    """
    described: dict[str, dict[str, Any]] = model.schema_["features"]
    if missing := [name for name in described if name not in rows.columns]:
        raise BadData("The rows", [f"there is no column {name!r}" for name in missing])
    separator = rows.attrs.get("separator", ",")
    features = pd.DataFrame(
        {
            name: _as_numbers(rows[name], separator)
            if feature["kind"] == "number"
            else to_texts(rows[name])
            for name, feature in described.items()
        },
        index=rows.index,
    )
    shares = predict_probabilities(model, features)
    answers = pd.DataFrame(index=rows.index)
    answers["class"] = model.predict(features) if len(rows) else ""
    if all_probabilities:
        if shares is None:
            raise BadData("The model", ["it gives no probabilities"])
        answers[[f"probability of {name}" for name in model.schema_["classes"]]] = shares
    elif shares is not None:
        answers["probability"] = shares.max(axis=1, initial=0)
    return answers.rename(columns=lambda name: _free_name(str(name), rows))


def predict_probabilities(model: Pipeline, features: pd.DataFrame) -> np.ndarray | None:
    """Return each class's probability (0 to 1): shape (rows, classes), or None if it has none."""
    if not hasattr(model, "predict_proba"):
        return None
    if len(features) == 0:  # which scikit-learn refuses
        return np.empty((0, len(model.classes_)))
    return model.predict_proba(features)


def unknown_texts(model: Pipeline, rows: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each text in `rows` that training never saw: the model ignores it."""
    for name, feature in model.schema_["features"].items():
        if feature["kind"] == "text":
            known = {text.casefold(): text for text in feature["known"]}
            texts = to_texts(rows[name]).dropna()
            for text in texts[~texts.isin(feature["known"])].unique():
                close = get_close_matches(text.casefold(), known, n=1, cutoff=0.5)
                hint = f" (did you mean {known[close[0]]!r}?)" if close else ""
                yield printable(f"unknown in {name!r}: {text!r}{hint}")


def _free_name(name: str, rows: pd.DataFrame) -> str:
    return _free_name(f"{name}_predicted", rows) if name in rows else name


def _labels(train_y: pd.Series) -> np.ndarray:
    """Return names of classes as NumPy's texts: with Python's, a fit takes 1.6 times as long."""
    codes, names = pd.factorize(train_y, use_na_sentinel=False)
    return np.asarray(names, dtype="str")[codes]


def _describe(values: pd.Series) -> dict[str, Any]:
    """Return a feature's kind: a number, or a text with the values that training knows."""
    if pd.api.types.is_numeric_dtype(values):
        return {"kind": "number"}
    return {"kind": "text", "known": sorted(map(str, values.dropna().unique()))}


def _as_numbers(values: pd.Series, separator: str) -> pd.Series:
    numbers, is_bad = to_numbers(values, separator)
    if is_bad.any():
        problem = f"{values.name} must be a number, not {values[is_bad].iloc[0]!r}"
        raise BadData("The rows", [printable(problem)])
    return numbers


def _plain(value: Any) -> Any:
    """Return a drawn value as a plain Python value, a float with four significant digits."""
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.4g}") if isinstance(value, float) else value

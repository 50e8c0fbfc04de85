"""The work that every pipeline of this benchmark does, as plain functions; a peer only wires them.

They are written for speed as somebody would who knows pandas and scikit-learn, so that nobody wins
against a slow script. What a peer keeps between its steps, and how, is the peer's own matter.
"""

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, precision_recall_fscore_support
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

TARGET = "species"


def check(data: pd.DataFrame) -> pd.DataFrame:
    """Return the data; raise `ValueError` where the target is missing, wholly or in a row."""
    if TARGET not in data.columns:
        raise ValueError(f"There is no column {TARGET!r}.")
    if data[TARGET].isna().any():
        raise ValueError(f"The column {TARGET!r} has rows without a value.")
    return data


def encode(data: pd.DataFrame) -> pd.DataFrame:
    """Return the data with the target replaced by one column of 0 and 1 for each class."""
    labels = pd.get_dummies(data[TARGET], dtype="int8")
    return data.drop(columns=TARGET).join(labels)


def get_classes(data: pd.DataFrame) -> list[str]:
    """Return the names of the classes, sorted."""
    return sorted(data[TARGET].unique())


def split(encoded: pd.DataFrame, classes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows for training and for testing, each class with the same share in both."""
    number_of_class = _codes(encoded, classes)
    train, test = train_test_split(
        encoded, test_size=0.2, random_state=42, stratify=number_of_class
    )
    return train, test


def train(train: pd.DataFrame, classes: list[str]) -> Pipeline:
    """Return a fitted model, which answers with the names of the classes."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    return model.fit(train.drop(columns=classes), np.array(classes)[_codes(train, classes)])


def predict(model: Pipeline, test: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Return the name of the predicted class of each row; shape (rows,)."""
    return model.predict(test.drop(columns=classes))


def evaluate(predictions: np.ndarray, test: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """Return accuracy, four figures for each class, and the mean of each feature in the test set.

    The means are what the benchmark knows a split by.
    """
    truth, answers = _codes(test, classes), np.searchsorted(classes, predictions)
    figures = precision_recall_fscore_support(truth, answers, zero_division=0)
    table = pd.DataFrame(figures, index=["precision", "recall", "F1", "support"], columns=classes)
    return {
        "accuracy": float((truth == answers).mean()),
        "classes": table.to_dict(),
        "test_means": test.drop(columns=classes).mean().to_dict(),
    }


def draw(predictions: np.ndarray, test: pd.DataFrame, classes: list[str]) -> Figure:
    """Return the picture of the confusion matrix."""
    figure = Figure(figsize=(6, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    ConfusionMatrixDisplay.from_predictions(
        _codes(test, classes),
        np.searchsorted(classes, predictions),
        display_labels=classes,
        cmap="Blues",
        xticks_rotation=45,
        ax=figure.add_subplot(),
    )
    return figure


def png(figure: Figure) -> bytes:
    """Return the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def page(metrics: dict[str, Any], picture: bytes) -> str:
    """Return the report, one HTML page with the PNG picture inside."""
    table = pd.DataFrame(metrics["classes"]).T.to_html(float_format="{:.3f}".format)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Report</title>'
        f"<h1>Accuracy on the test set: {metrics['accuracy']:.2%}</h1>{table}"
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}"></html>'
    )


def _codes(rows: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Return the number of each row's class; shape (rows,)."""
    return rows[classes].to_numpy().argmax(axis=1)

"""The report of a run: metrics, a table of the classes, a picture, one HTML page.

Everything is returned as a value; the flow writes it to `reports/` and to the dashboard.
"""

import base64
import html
import io
import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)
from sklearn.pipeline import Pipeline

from ml.model import predict_probabilities

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: auto; padding: 1rem }
  table { border-collapse: collapse }
  th, td { padding: .3rem .8rem; border-bottom: 1px solid #ccc }
  img { max-width: 100% }
</style>
$body</html>
""")
MOST_COLUMNS_SHOWN = 100
METRICS = """\
Largest class: the share of it among the rows, which is the accuracy of always guessing it.
Balanced accuracy: the mean of the recall of all classes. Macro F1: the mean of their F1.
ROC AUC: how well the probabilities put rows of a class before others; 0.5 is guessing."""
EXPLANATION = """\
Precision: of the rows that were predicted as this class, the share that belong to it.
Recall: of the rows of this class, the share that was predicted as such.
F1: the harmonic mean of both. Support: rows of this class in the test set."""


@dataclass
class Report:
    """The contents of a report, as values.

    `files` are its files by name; `metrics` are numbers by name, for run.json; `table` and
    `markdown` are for the dashboard.
    """

    files: dict[str, bytes]
    table: pd.DataFrame
    metrics: dict[str, float] = field(default_factory=dict)
    markdown: str = ""


def make_report(
    model: Pipeline, split: dict[str, Any], predictions: np.ndarray, picture: bytes, title: str
) -> Report:
    """Return the report on a model of `train`.

    `split` has the test set, `test_x` and `test_y`, and as `data` the summary of `check_table`,
    None if it is not known. `predictions` are the names of the classes predicted for it, of shape
    (rows,), and `picture` is the PNG of `draw_evaluation`.
    """
    test_y, probabilities = split["test_y"], predict_probabilities(model, split["test_x"])
    names, truth, predicted = _codes(model, test_y, predictions)
    figures = precision_recall_fscore_support(
        truth, predicted, labels=range(len(names)), zero_division=0
    )
    columns = ["precision", "recall", "F1", "support"]
    classes = pd.DataFrame(dict(zip(columns, figures, strict=True)), index=names)
    present = classes[classes["support"] > 0]
    metrics = {
        "accuracy": float((predicted == truth).mean()),
        "largest_class": float(present["support"].max() / present["support"].sum()),
        "balanced_accuracy": float(present["recall"].mean()),
        "macro_f1": float(present["F1"].mean()),
    }
    if probabilities is not None and probabilities.shape[1] == len(present) > 1:
        scores = probabilities[:, 1] if len(names) == 2 else probabilities
        metrics["roc_auc"] = float(roc_auc_score(truth, scores, multi_class="ovr"))
    params = model.params_.items()
    given = ", ".join(f"{_literal(name)} = {_literal(value)}" for name, value in params)
    image = base64.b64encode(picture).decode()
    markdown = "\n".join(
        [
            f"# Accuracy on the test set: {metrics['accuracy']:.2%}\n",
            f"Run `{title}`, {len(test_y)} rows in the test set.\n",
            *([f"Parameters of the model: {given}.\n"] if given else []),
            *_table(["metric", ""], [(name, f"{value:.4f}") for name, value in metrics.items()]),
            f"\n{METRICS}\n",
            *_table(
                ["class", *columns],
                [
                    (_literal(name), *(f"{value:.3f}" for value in values[:3]), f"{values[3]:.0f}")
                    for name, values in zip(names, classes.to_numpy(), strict=True)
                ],
            ),
            f"\n{EXPLANATION}\n",
            "## Confusion matrix\n",
            f"![Confusion matrix: true classes by predicted](data:image/png;base64,{image})\n",
            *_data_section(split["data"] or {}),
        ]
    )
    body = MarkdownIt("js-default").render(markdown)
    page = PAGE.substitute(title=html.escape(title), body=body)
    values = {**metrics, "classes": classes.to_dict(orient="index")}
    files = {
        "report.html": page.encode(),
        "confusion_matrix.png": picture,
        "metrics.json": (json.dumps(values, indent=2) + "\n").encode(),
    }
    table = classes.round(3).rename(index=_literal).reset_index(names="class")
    return Report(files, table, metrics, markdown)


def _data_section(data: dict[str, Any]) -> list[str]:
    """Return lines of Markdown on the raw data: rows, columns and gaps."""
    if not data:
        return []
    columns, left_out, gaps = data["columns"], data["columns_left_out"], data["gaps"]
    rows = [
        *((_literal(name), kind, gaps.get(name, 0)) for name, kind in columns.items()),
        *((_literal(name), f"left out: {_literal(left_out[name])}", "") for name in left_out),
    ]
    more = len(rows) - MOST_COLUMNS_SHOWN
    return [
        "## Data\n",
        f"{data['rows']} rows were read, {data['rows_left_out']} of them left out for want of a "
        f"class; {len(columns)} columns are features, {len(left_out)} are left out.\n",
        *_table(["column", "kind", "gaps"], rows[:MOST_COLUMNS_SHOWN]),
        *([f"\nand {more} more"] if more > 0 else []),
    ]


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    """Return the lines of a table in Markdown, all but its first column aligned to the right."""
    head = list(columns)
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def draw_evaluation(model: Pipeline, test_x: pd.DataFrame, test_y: pd.Series) -> bytes:
    """Return a PNG: the confusion matrix of a model on the test set, true classes by predicted.

    Its size grows with the number of classes, so that no label is cut off.
    """
    names, truth, predicted = _codes(model, test_y, model.predict(test_x))
    counts = confusion_matrix(truth, predicted, labels=range(len(names)))
    side = 3.5 + 0.5 * len(names)
    figure = _figure(side + 1, side)
    axes = figure.add_subplot(1, 1, 1)
    labels = [name.replace("$", r"\$") for name in names]  # else a price is drawn as a formula
    display = ConfusionMatrixDisplay(counts, display_labels=labels)
    display.plot(cmap="Blues", ax=axes)
    # Rotated around its end, a label of any length ends below its column.
    axes.tick_params("x", rotation=45, rotation_mode="xtick")
    axes.set(xlabel="Predicted class", ylabel="True class")
    return _png(figure)


def make_search_report(table: pd.DataFrame) -> Report:
    """Return the report on a search.

    `table` has a row for each candidate: its parameters; `accuracy` and `std` over the folds (0 to
    1); and `error`, which says what happened where these two are missing.
    """
    values = table.to_json(orient="records", indent=2, force_ascii=False, default_handler=str)
    files = {"search.json": f"{values}\n".encode(), "search.png": draw_search(table)}
    ranked = table.sort_values("accuracy", ascending=False).round(4).map(str)
    return Report(files, ranked)


def draw_search(table: pd.DataFrame) -> bytes:
    """Return a PNG: the accuracy of each candidate by its first parameter.

    Colours distinguish the other parameters if these have at most ten combinations.
    """
    first, *others = table.columns.drop(["accuracy", "std", "error"])
    table = table.dropna(subset="accuracy")
    values = table[others].map(str).to_numpy()
    labels = pd.Series([", ".join(row) for row in values], index=table.index, dtype="str")
    if labels.nunique() > 10:
        labels[:] = ""
    figure = _figure(8, 5)
    axes = figure.add_subplot()
    is_number = pd.api.types.is_numeric_dtype(table[first])
    for label, rows in table.groupby(labels):
        x = rows[first] if is_number else rows[first].map(str)
        axes.errorbar(x, rows["accuracy"], rows["std"], fmt="o", alpha=0.7, capsize=3, label=label)
    axes.set(xlabel=first, ylabel="Accuracy over the folds (bars: standard deviation)")
    if is_number and (table[first] > 0).all() and table[first].max() > 50 * table[first].min():
        axes.set_xscale("log")
    axes.grid(alpha=0.3)
    if labels.nunique() > 1:
        axes.legend(title=", ".join(others), loc="lower right")
    return _png(figure)


def _codes(
    model: Pipeline, truth: pd.Series, predictions: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names of the classes, and the position of each true and predicted one in them.

    scikit-learn counts integers much faster than texts.
    """
    names = [str(name) for name in model.classes_]
    codes = pd.Categorical(truth, categories=names).codes
    return names, codes, np.searchsorted(model.classes_, predictions)


def _figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches, drawn without a screen."""
    # Not imported above: a run whose picture is in the cache need not wait for it.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks becomes a box
        figure.savefig(png, dpi=150)
    return png.getvalue()


def _literal(name: Any) -> str:
    """Return Markdown that shows a name literally.

    The dashboard renders the cells of a table as Markdown, too: a name could load a picture.
    """
    text = html.escape(" ".join(str(name).split()), quote=False)
    return re.sub(r"([\\`*_\[\]()#!|~$:])", r"\\\1", text)

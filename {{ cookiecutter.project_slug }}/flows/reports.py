"""What a run tells people: accuracy, a table of the classes, confusion matrix, one HTML page."""

import base64
import html
import io
import json
import re
import warnings
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    confusion_matrix,
    precision_recall_fscore_support,
)

from flows.caching import BY_CONTENT
from flows.data_engineer import INTERIM
from flows.places import place
from flows.runs import update_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$run</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: auto; padding: 1rem }
  table { border-collapse: collapse }
  th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ccc }
  th:first-child { text-align: left }
  img { max-width: 100% }
</style>
<h1>Accuracy on the test set: $accuracy</h1>
<p>Run <code>$run</code>, $rows rows in the test set.</p>
<h2>Each class</h2>
$table
<p>Precision: of the rows that were predicted as this class, the share that are of it.
Recall: of the rows of this class, the share that was found.
F1: the harmonic mean of both. Support: rows of this class in the test set.</p>
<h2>Confusion matrix</h2>
<img alt="Confusion matrix: true classes by predicted classes" src="$picture">
</html>
""")


def write(truth: np.ndarray, predictions: np.ndarray, classes: list[str], run: str) -> None:
    """Write `reports/<run>/`, add the accuracy to `run.json`, and make Prefect's artifacts.

    `truth` and `predictions` are names among the `classes`, each of shape (rows,).
    """
    # As numbers, which scikit-learn counts much faster than texts.
    order = np.argsort(classes)
    truth, predictions = (
        order[np.searchsorted(classes, names, sorter=order)] for names in (truth, predictions)
    )
    numbers = range(len(classes))
    accuracy = float((truth == predictions).mean())
    figures = precision_recall_fscore_support(truth, predictions, labels=numbers, zero_division=0)
    columns = ["precision", "recall", "F1", "support"]
    table = pd.DataFrame(dict(zip(columns, figures, strict=True)), index=classes)
    png = draw_confusion_matrix(confusion_matrix(truth, predictions, labels=numbers), classes)
    picture = "data:image/png;base64," + base64.b64encode(png).decode()
    page = PAGE.substitute(
        run=html.escape(run),
        accuracy=f"{accuracy:.2%}",
        rows=len(truth),
        table=table.to_html(float_format="{:.3f}".format, border=0),
        picture=picture,
    )

    reports = place("reports")
    reports.put(f"{run}/confusion_matrix.png", png)
    reports.put(f"{run}/report.html", page.encode())
    metrics = {"accuracy": accuracy, "classes": table.to_dict(orient="index")}
    reports.put(f"{run}/metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    update_run(run, accuracy=accuracy)

    table = table.rename(index=_as_is)
    rounded: Any = table.round(3).reset_index(names="class").to_dict(orient="records")
    create_table_artifact(rounded, key="metrics", description=f"Accuracy: {accuracy:.2%}")
    create_markdown_artifact(
        f"# Accuracy on the test set: {accuracy:.2%}\n\n{_markdown(table)}\n\n"
        f"![Confusion matrix]({picture})\n\n"
        f"The same as a file: `{reports.where(f'{run}/report.html')}`",
        key="report",
        description=f"Run {run}",
    )


def write_search(table: list[dict[str, Any]], searched: list[str], run: str) -> None:
    """Write `search.json` and `search.png` to `reports/<run>/`, and make an artifact of the table.

    `table` has a row for each candidate: the `searched` parameters by their names in scikit-learn,
    the first of them a positive number; `accuracy` and `std` over the folds, from 0 to 1, and
    `error`, which says what happened where these two are None.
    """
    reports = place("reports")
    reports.put(f"{run}/search.json", (json.dumps(table, indent=2) + "\n").encode())
    frame = pd.DataFrame(table).rename(columns=lambda name: name.rpartition("__")[2])
    names = [name.rpartition("__")[2] for name in searched]
    frame[names[1:]] = [[str(row[name]) for name in searched[1:]] for row in table]
    reports.put(f"{run}/search.png", _search_picture(frame, names))
    ranked: Any = frame.sort_values("accuracy", ascending=False).round(4).astype("str")
    tried = f"{len(frame)} candidates, {frame['error'].notna().sum()} failed"
    create_table_artifact(ranked.to_dict(orient="records"), key="candidates", description=tried)


@task(
    result_storage=INTERIM,
    result_serializer="png",
    cache_policy=BY_CONTENT.configure(key_storage=INTERIM.records),
)
def draw_confusion_matrix(counts: np.ndarray, classes: list[str]) -> bytes:
    """Return a PNG of `counts`, whole numbers of shape (true classes, predicted classes).

    Its size grows with the number of classes, so that no label is cut off.
    """
    side = 3.5 + 0.5 * len(classes)
    figure, axes = _figure(side + 1, side)
    labels = [name.replace("$", r"\$") for name in classes]  # a price is no formula
    display = ConfusionMatrixDisplay(counts, display_labels=labels)
    display.plot(cmap="Blues", xticks_rotation=45, ax=axes)
    axes.set(xlabel="Predicted class", ylabel="True class")
    return _png(figure)


def _search_picture(frame: pd.DataFrame, names: list[str]) -> bytes:
    """Return a PNG: accuracy by the first parameter, a colour for each choice of the others."""
    figure, axes = _figure(8, 5)
    first, *others = names
    for choice, rows in frame.dropna(subset="accuracy").groupby(others):
        label = ", ".join(f"{name}={value}" for name, value in zip(others, choice, strict=True))
        axes.errorbar(
            rows[first], rows["accuracy"], rows["std"], fmt="o", alpha=0.7, capsize=3, label=label
        )
    axes.set(
        xscale="log", xlabel=first, ylabel="Accuracy over the folds (bars: standard deviation)"
    )
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(loc="lower right")
    return _png(figure)


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    """Return an empty figure of this size in inches, drawn without a screen, and its axes."""
    # Not imported above: a run that finds its picture in the cache does not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks is a box
        figure.savefig(png, dpi=150)
    return png.getvalue()


def _as_is(name: str) -> str:
    """Return Markdown that shows a class by the name that the data gives it, whatever is in it.

    The dashboard takes the cells of a table for Markdown, too: a name could load a picture.
    """
    text = html.escape(" ".join(name.split()), quote=False)
    return re.sub(r"([\\`*_\[\]()#!|~$:])", r"\\\1", text)


def _markdown(table: pd.DataFrame) -> str:
    lines = ["| class | precision | recall | F1 | support |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, row in table.iterrows():
        lines.append(
            f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['F1']:.3f} "
            f"| {row['support']:.0f} |"
        )
    return "\n".join(lines)

"""The one pipeline of the project."""

import iris
from kedro.pipeline import Pipeline, node


def page(metrics, figure):
    """Return the report as HTML."""
    return iris.page(metrics, iris.png(figure))


def register_pipelines():
    """Return the pipelines by name."""
    return {
        "__default__": Pipeline(
            [
                node(iris.check, "raw", "data"),
                node(iris.encode, "data", "encoded"),
                node(iris.get_classes, "data", "classes"),
                node(iris.split, ["encoded", "classes"], ["train", "test"]),
                node(iris.train, ["train", "classes"], "model"),
                node(iris.predict, ["model", "test", "classes"], "predictions"),
                node(iris.evaluate, ["predictions", "test", "classes"], "metrics"),
                node(iris.draw, ["predictions", "test", "classes"], "confusion_matrix"),
                node(page, ["metrics", "confusion_matrix"], "report"),
            ]
        )
    }

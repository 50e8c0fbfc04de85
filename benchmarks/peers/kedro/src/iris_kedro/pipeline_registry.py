"""The one pipeline of the project."""

import iris
from kedro.pipeline import Pipeline, node


def draw(predictions, test, classes):
    """Return the confusion matrix as PNG."""
    return iris.png(iris.draw(predictions, test, classes))


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
                node(draw, ["predictions", "test", "classes"], "confusion_matrix"),
                node(iris.page, ["metrics", "confusion_matrix"], "report"),
            ]
        )
    }

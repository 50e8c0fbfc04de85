"""The pipeline as a plain script: what everything else is compared with."""

import json
from pathlib import Path

import iris
import pandas as pd
import skops.io

OUTPUTS = Path("data/outputs")


def prepare_data() -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return the rows for training, those for testing, and the names of the classes."""
    data = iris.check(pd.read_csv("data/raw/iris.csv"))
    encoded = iris.encode(data)
    encoded.to_parquet(OUTPUTS / "encoded.parquet")
    classes = iris.get_classes(data)
    (OUTPUTS / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    train, test = iris.split(encoded, classes)
    train.to_parquet(OUTPUTS / "train.parquet", index=False)
    test.to_parquet(OUTPUTS / "test.parquet", index=False)
    return train, test, classes


def train_and_report(train: pd.DataFrame, test: pd.DataFrame, classes: list[str]) -> None:
    """Train a model, and write it with its report."""
    model = iris.train(train, classes)
    skops.io.dump(model, OUTPUTS / "model.skops")
    predictions = iris.predict(model, test, classes)
    metrics = iris.evaluate(predictions, test, classes)
    picture = iris.png(iris.draw(predictions, test, classes))
    (OUTPUTS / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (OUTPUTS / "confusion_matrix.png").write_bytes(picture)
    (OUTPUTS / "report.html").write_text(iris.page(metrics, picture), encoding="utf-8")
    print(f"Accuracy: {metrics['accuracy']:.2%}")


if __name__ == "__main__":
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    train_and_report(*prepare_data())

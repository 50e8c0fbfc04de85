"""The pipeline as Metaflow's documentation writes one: steps whose artifacts it stores."""

import json
from pathlib import Path

import iris
import pandas as pd
import skops.io
from metaflow import FlowSpec, step

OUTPUTS = Path("data/outputs")


class IrisFlow(FlowSpec):
    """From the raw file to the report."""

    @step
    def start(self):
        """Read the raw file, check it, and replace the target by one column for each class."""
        data = iris.check(pd.read_csv("data/raw/iris.csv"))
        self.encoded = iris.encode(data)
        self.classes = iris.get_classes(data)
        self.next(self.split_data)

    @step
    def split_data(self):
        """Split the rows into those for training and those for testing."""
        self.train, self.test = iris.split(self.encoded, self.classes)
        self.next(self.train_model)

    @step
    def train_model(self):
        """Train the model."""
        self.model = iris.train(self.train, self.classes)
        self.next(self.predict)

    @step
    def predict(self):
        """Predict the test set."""
        self.predictions = iris.predict(self.model, self.test, self.classes)
        self.next(self.end)

    @step
    def end(self):
        """Say how good the model is."""
        OUTPUTS.mkdir(parents=True, exist_ok=True)
        skops.io.dump(self.model, OUTPUTS / "model.skops")
        self.metrics = iris.evaluate(self.predictions, self.test, self.classes)
        picture = iris.png(iris.draw(self.predictions, self.test, self.classes))
        (OUTPUTS / "metrics.json").write_text(json.dumps(self.metrics), encoding="utf-8")
        (OUTPUTS / "confusion_matrix.png").write_bytes(picture)
        page = iris.page(self.metrics, picture)
        (OUTPUTS / "report.html").write_text(page, encoding="utf-8")
        print(f"Accuracy: {self.metrics['accuracy']:.2%}")


if __name__ == "__main__":
    IrisFlow()

"""The pipeline as Luigi's documentation writes one: tasks with files as their targets."""

import json
from pathlib import Path

import iris
import luigi
import pandas as pd
import skops.io

OUTPUTS = Path("data/outputs")


def target(name: str) -> luigi.LocalTarget:
    """Return a file among the outputs."""
    return luigi.LocalTarget(OUTPUTS / name)


class RawData(luigi.ExternalTask):
    """The file that is there before anything runs."""

    def output(self):
        """Return the raw file."""
        return luigi.LocalTarget("data/raw/iris.csv")


class EncodeCategoricalColumns(luigi.Task):
    """Replaces the target column by one column for each class."""

    def requires(self):
        """Return what comes first."""
        return RawData()

    def output(self):
        """Return the files."""
        return {"encoded": target("encoded.parquet"), "classes": target("classes.json")}

    def run(self):
        """Write the files."""
        data = iris.check(pd.read_csv(self.input().path))
        with self.output()["classes"].open("w") as file:
            json.dump(iris.get_classes(data), file)
        with self.output()["encoded"].temporary_path() as path:
            iris.encode(data).to_parquet(path)


class SplitData(luigi.Task):
    """Splits the rows into those for training and those for testing."""

    def requires(self):
        """Return what comes first."""
        return EncodeCategoricalColumns()

    def output(self):
        """Return the files."""
        return {"train": target("train.parquet"), "test": target("test.parquet")}

    def run(self):
        """Write the files."""
        encoded = pd.read_parquet(self.input()["encoded"].path)
        parts = iris.split(encoded, read_json(self.input()["classes"]))
        for name, rows in zip(("train", "test"), parts, strict=True):
            with self.output()[name].temporary_path() as path:
                rows.to_parquet(path, index=False)


class TrainModel(luigi.Task):
    """Trains the model."""

    def requires(self):
        """Return what comes first."""
        return {"split": SplitData(), "encoded": EncodeCategoricalColumns()}

    def output(self):
        """Return the file."""
        return target("model.skops")

    def run(self):
        """Write the file."""
        train = pd.read_parquet(self.input()["split"]["train"].path)
        model = iris.train(train, read_json(self.input()["encoded"]["classes"]))
        with self.output().temporary_path() as path:
            skops.io.dump(model, path)


class Report(luigi.Task):
    """Predicts the test set and says how good the model is."""

    def requires(self):
        """Return what comes first."""
        return {
            "model": TrainModel(),
            "split": SplitData(),
            "encoded": EncodeCategoricalColumns(),
        }

    def output(self):
        """Return the files, the one that is written last at the end."""
        return [target("metrics.json"), target("confusion_matrix.png"), target("report.html")]

    def run(self):
        """Write the files."""
        classes = read_json(self.input()["encoded"]["classes"])
        test = pd.read_parquet(self.input()["split"]["test"].path)
        model = skops.io.load(self.input()["model"].path, trusted=["numpy.dtype"])
        predictions = iris.predict(model, test, classes)
        metrics = iris.evaluate(predictions, test, classes)
        picture = iris.png(iris.draw(predictions, test, classes))
        page = iris.page(metrics, picture)
        contents = [json.dumps(metrics).encode(), picture, page.encode()]
        for output, content in zip(self.output(), contents, strict=True):
            with output.temporary_path() as path:
                Path(path).write_bytes(content)


def read_json(source: luigi.LocalTarget) -> list[str]:
    """Return the value in a JSON file."""
    with source.open() as file:
        return json.load(file)


if __name__ == "__main__":
    if not luigi.build([Report()], local_scheduler=True, log_level="INFO"):
        raise SystemExit(1)

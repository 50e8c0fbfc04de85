"""The pipeline as Dagster's documentation writes one: assets, and I/O managers that store them."""

import json
from pathlib import Path

import dagster as dg
import iris
import pandas as pd
import skops.io

OUTPUTS = Path("data/outputs")


class ParquetIOManager(dg.ConfigurableIOManager):
    """Keeps each DataFrame as a Parquet file."""

    def _path(self, context) -> Path:
        return OUTPUTS / f"{context.asset_key.path[-1]}.parquet"

    def handle_output(self, context, obj):
        """Write a DataFrame."""
        obj.to_parquet(self._path(context), index=False)

    def load_input(self, context):
        """Read a DataFrame."""
        return pd.read_parquet(self._path(context))


@dg.multi_asset(outs={"encoded": dg.AssetOut(io_manager_key="parquet"), "classes": dg.AssetOut()})
def encode_categorical_columns():
    data = iris.check(pd.read_csv("data/raw/iris.csv"))
    classes = iris.get_classes(data)
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    (OUTPUTS / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    return iris.encode(data), classes


@dg.multi_asset(
    outs={
        "train": dg.AssetOut(io_manager_key="parquet"),
        "test": dg.AssetOut(io_manager_key="parquet"),
    }
)
def split_data(encoded, classes):
    return iris.split(encoded, classes)


@dg.asset
def model(train, classes):
    fitted = iris.train(train, classes)
    skops.io.dump(fitted, OUTPUTS / "model.skops")
    return fitted


@dg.asset
def predictions(model, test, classes):
    return iris.predict(model, test, classes)


@dg.asset
def report(context: dg.AssetExecutionContext, predictions, test, classes):
    metrics = iris.evaluate(predictions, test, classes)
    picture = iris.png(iris.draw(predictions, test, classes))
    (OUTPUTS / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (OUTPUTS / "confusion_matrix.png").write_bytes(picture)
    (OUTPUTS / "report.html").write_text(iris.page(metrics, picture), encoding="utf-8")
    context.log.info(f"Accuracy: {metrics['accuracy']:.2%}")


ASSETS = [encode_categorical_columns, split_data, model, predictions, report]
RESOURCES = {"parquet": ParquetIOManager()}
defs = dg.Definitions(assets=ASSETS, resources=RESOURCES)

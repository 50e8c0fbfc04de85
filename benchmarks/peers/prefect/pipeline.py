"""The pipeline as Prefect's documentation writes one: tasks whose results are persisted."""

import json
from pathlib import Path

import iris
import pandas as pd
import skops.io
from prefect import flow, task

OUTPUTS = Path("data/outputs")


@task
def load_data(path: str):
    return iris.check(pd.read_csv(path))


@task(persist_result=True)
def encode_categorical_columns(data):
    return iris.encode(data)


@task(persist_result=True)
def get_classes(data):
    return iris.get_classes(data)


@task(persist_result=True)
def split_data(encoded, classes):
    return iris.split(encoded, classes)


@task(persist_result=True)
def train_model(train, classes):
    return iris.train(train, classes)


@task
def predict(model, test, classes):
    return iris.predict(model, test, classes)


@task
def report(model, predictions, test, classes):
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    skops.io.dump(model, OUTPUTS / "model.skops")
    metrics = iris.evaluate(predictions, test, classes)
    picture = iris.png(iris.draw(predictions, test, classes))
    (OUTPUTS / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (OUTPUTS / "confusion_matrix.png").write_bytes(picture)
    (OUTPUTS / "report.html").write_text(iris.page(metrics, picture), encoding="utf-8")
    print(f"Accuracy: {metrics['accuracy']:.2%}")


@flow(log_prints=True)
def main_flow(raw_path: str = "data/raw/iris.csv"):
    data = load_data(raw_path)
    classes = get_classes(data)
    train, test = split_data(encode_categorical_columns(data), classes)
    model = train_model(train, classes)
    predictions = predict(model, test, classes)
    report(model, predictions, test, classes)


if __name__ == "__main__":
    main_flow()

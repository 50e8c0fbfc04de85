"""The raw data: Iris repeated with noise, and a change of one byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from contenders import RAW, Folder
from environments import BUILD
from measure import say
from pyarrow import csv

SEED = 42
NOISE = 0.1  # standard deviation, in the centimetres of the features


def write_data(rows: int) -> Path:
    """Return the path of a CSV file of `rows` rows, made once; 150 rows are Iris itself."""
    iris = pd.read_csv(RAW)
    if rows == len(iris):
        return RAW
    file = BUILD / "data" / f"{rows}.csv"
    if file.exists():
        return file
    say(f"Writing {rows:,} rows ...")
    random = np.random.default_rng(SEED)
    places = np.arange(rows) % len(iris)
    columns: dict[str, pa.Array] = {}
    for name in iris.columns.drop("species"):
        values = iris[name].to_numpy()[places] + random.normal(0, NOISE, rows)
        columns[name] = pa.array(values.clip(0.1).round(1))
    columns["species"] = pa.array(iris["species"]).take(pa.array(places))
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    csv.write_csv(pa.table(columns), aside, csv.WriteOptions(quoting_style="none"))
    aside.rename(file)
    return file


def change_a_byte(project: Folder) -> None:
    """Change one digit of the raw file, in a copy of its own."""
    content = bytearray(project.raw.read_bytes())
    place = content.index(b"\n") + 1  # the first digit of the first row
    content[place] = ord("4") if content[place] == ord("5") else ord("5")
    project.raw.unlink()
    project.raw.write_bytes(content)

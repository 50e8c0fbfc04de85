"""How results are written: Parquet for tables, JSON for values, skops for models, PNG for pictures.

All are Prefect serializers, for the `result_serializer` of a task. None of them pickles, so
nothing that is read back can run code, and each file opens with ordinary tools.
"""

import io
import json
from typing import Any, Literal

import numpy as np
import pandas as pd
import prefect.runtime
import pyarrow as pa
from prefect.serializers import Serializer

from runtime.runs import must_be_written

SETS = pd.CategoricalDtype(["train", "test"])  # of the last column of a stored split


class _Format:
    """Fails the run where a result cannot be written; Prefect only warns, and continues."""

    type: str

    def write(self, obj: Any) -> bytes:
        raise NotImplementedError

    def dumps(self, obj: Any) -> bytes:
        """Return `obj` as the bytes of a file."""
        if isinstance(obj, BaseException):  # Prefect tries to keep errors of tasks, too
            raise TypeError("An error is no result.")
        task = prefect.runtime.task_run.task_name
        with must_be_written(f"The result of {task} cannot be written as {self.type}"):
            return self.write(obj)


class ParquetSerializer(_Format, Serializer):
    """Writes a DataFrame, or the dict of four that `split_data` returns, as one Parquet table.

    A split becomes one table, whose last columns are the labels and the set of each row ("train" or
    "test").
    """

    type: Literal["parquet"] = "parquet"

    def write(self, obj: pd.DataFrame | dict[str, Any]) -> bytes:
        """Return `obj` as the bytes of a Parquet file."""
        content: bytes = (obj if isinstance(obj, pd.DataFrame) else _to_table(obj)).to_parquet()
        return content

    def loads(self, blob: bytes) -> pd.DataFrame | dict[str, Any]:
        """Return what `dumps` was given."""
        value: Any = pd.read_parquet(io.BytesIO(blob))
        if list(value.dtypes)[-1:] == [SETS]:
            value = _to_split(value)
        pa.default_memory_pool().release_unused()  # 200 MB after a split of 1,500,000 rows
        return value


class JSONValueSerializer(_Format, Serializer):
    """Writes lists, dicts, texts and numbers as readable JSON."""

    type: Literal["json-value"] = "json-value"

    def write(self, obj: Any) -> bytes:
        """Return `obj` as UTF-8 JSON; raise `TypeError` for anything that is not a plain value."""
        return (json.dumps(obj, ensure_ascii=False, indent=2) + "\n").encode()

    def loads(self, blob: bytes) -> Any:
        """Return what `dumps` was given."""
        return json.loads(blob)


class SkopsSerializer(_Format, Serializer):
    """Writes a scikit-learn model as a skops file, which can be opened without running code."""

    type: Literal["skops"] = "skops"

    def write(self, obj: Any) -> bytes:
        """Return the model as bytes of a skops file; raise `UserError` for an untrusted type."""
        from runtime import models  # skops takes 0.2 s to import, and not every flow has a model

        return models.dumps(obj)

    def loads(self, blob: bytes) -> Any:
        """Return the model; raise `UserError` for a damaged file or one with untrusted types."""
        from runtime import models

        return models.loads(blob)


class PNGSerializer(_Format, Serializer):
    """Keeps a picture as it is."""

    type: Literal["png"] = "png"

    def write(self, obj: bytes) -> bytes:
        """Return the bytes of a PNG file; raise `TypeError` for anything else."""
        if not isinstance(obj, bytes) or not obj.startswith(b"\x89PNG\r\n\x1a\n"):
            raise TypeError(f"{type(obj).__name__} is no picture")
        return obj

    def loads(self, blob: bytes) -> bytes:
        """Return what `dumps` was given."""
        return blob


def _to_table(split: dict[str, Any]) -> pd.DataFrame:
    table = pd.concat([split["train_x"], split["test_x"]])
    labels = pd.concat([split["train_y"], split["test_y"]])
    table[_free_name(str(labels.name), table)] = labels
    sets = np.repeat([0, 1], [len(split["train_x"]), len(split["test_x"])])
    table[_free_name("set", table)] = pd.Categorical.from_codes(sets, dtype=SETS)
    return table.rename_axis("row")


def _free_name(name: str, table: pd.DataFrame) -> str:
    return _free_name(f"{name}_", table) if name in table else name


def _to_split(table: pd.DataFrame) -> dict[str, Any]:
    split: dict[str, Any] = {}
    for name in SETS.categories:
        rows = table[table.iloc[:, -1] == name]
        split[f"{name}_x"], split[f"{name}_y"] = rows.iloc[:, :-2], rows.iloc[:, -2]
    return split

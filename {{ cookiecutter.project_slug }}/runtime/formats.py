"""How results are written: Parquet for tables, JSON for values, skops for models, PNG for pictures.

All are Prefect serializers, for the `result_serializer` of a task. None of them pickles, so
nothing that is read back can run code, and each file opens with ordinary tools.
"""

import io
import json
from typing import Any, Literal

import pandas as pd
import prefect.runtime
from prefect.serializers import Serializer

from runtime.runs import must_be_written

SPLIT_INDEX = ["set", "row"]  # of a stored split: "train" or "test", and the index of the rows


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

    A split becomes one table, with the set of each row ("train" or "test") in its index, and the
    labels as its last column.
    """

    type: Literal["parquet"] = "parquet"

    def write(self, obj: pd.DataFrame | dict[str, Any]) -> bytes:
        """Return `obj` as the bytes of a Parquet file."""
        content: bytes = (obj if isinstance(obj, pd.DataFrame) else _to_table(obj)).to_parquet()
        return content

    def loads(self, blob: bytes) -> pd.DataFrame | dict[str, Any]:
        """Return what `dumps` was given."""
        table = pd.read_parquet(io.BytesIO(blob))
        return _to_split(table) if list(table.index.names) == SPLIT_INDEX else table


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
    label = str(split["train_y"].name)
    while label in split["train_x"]:  # the data may well have a feature named `class`
        label += "_"
    sets = {
        name: split[f"{name}_x"].assign(**{label: split[f"{name}_y"]}) for name in ("train", "test")
    }
    return pd.concat(sets, names=SPLIT_INDEX)


def _to_split(table: pd.DataFrame) -> dict[str, Any]:
    split: dict[str, Any] = {}
    for name in ("train", "test"):
        rows: Any = table.loc[name]
        split[f"{name}_x"], split[f"{name}_y"] = rows.iloc[:, :-1], rows.iloc[:, -1]
    return split

"""How outputs are written to disk: Parquet for tables, JSON for values, skops for models, PNG.

All are Prefect serializers, for the `result_serializer` of a task. None of them pickles, so
nothing that is read back can run code, and each file opens with ordinary tools.
"""

import io
import json
import zipfile
from pathlib import PurePath
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect.serializers import Serializer

from flows.models import refuse_swelling

SET_COLUMN = "_set"  # says in a stored split to which set a row belongs: "train" or "test"
LABELS_KEY = b"label_columns"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class ParquetSerializer(Serializer):
    """Writes a DataFrame, or the dict of four that `split_data` returns, as one Parquet table.

    A split becomes one table with the column `_set` ("train" or "test") in front; which columns
    are labels stands in the table's metadata.
    """

    type: Literal["parquet"] = "parquet"

    def dumps(self, obj: pd.DataFrame | dict[str, pd.DataFrame]) -> bytes:
        """Return `obj` as the bytes of a Parquet file."""
        table = _table(obj) if isinstance(obj, pd.DataFrame) else _split_to_table(obj)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        blob: bytes = sink.getvalue().to_pybytes()
        del table, sink
        _give_memory_back()
        return blob

    def loads(self, blob: bytes) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Return what `dumps` was given; raise `UserError` for a table far larger than its file."""
        file = pq.ParquetFile(pa.BufferReader(blob))
        groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
        refuse_swelling(8 * sum(group.num_rows * group.num_columns for group in groups), blob, 1000)
        table = file.read()
        is_split = LABELS_KEY in (table.schema.metadata or {})
        frames = _split_from_table(table) if is_split else table.to_pandas()
        del file, table
        _give_memory_back()
        return frames


class JSONValueSerializer(Serializer):
    """Writes lists, dicts, texts and numbers as readable JSON."""

    type: Literal["json-value"] = "json-value"

    def dumps(self, obj: Any) -> bytes:
        """Return `obj` as UTF-8 JSON; raise `TypeError` for anything that is not a plain value."""
        return (json.dumps(obj, ensure_ascii=False, indent=2) + "\n").encode()

    def loads(self, blob: bytes) -> Any:
        """Return what `dumps` was given."""
        return json.loads(blob)


class SkopsSerializer(Serializer):
    """Writes a scikit-learn model as a skops file, which can be opened without running code."""

    type: Literal["skops"] = "skops"

    def dumps(self, obj: Any) -> bytes:
        """Return the model as the bytes of a skops file."""
        import skops.io

        if isinstance(obj, BaseException):  # Prefect asks for this, too, when a task fails
            raise TypeError("an error is no model")
        return _same_every_time(skops.io.dumps(obj))

    def loads(self, blob: bytes) -> Any:
        """Return the model; raise `UserError` for a file that is none or holds unknown types."""
        from flows.models import loads

        return loads(blob)


class PNGSerializer(Serializer):
    """Keeps a picture as it is."""

    type: Literal["png"] = "png"

    def dumps(self, obj: bytes) -> bytes:
        """Return the bytes of a PNG file; raise `TypeError` for anything else."""
        if not isinstance(obj, bytes):
            raise TypeError(f"{type(obj).__name__} is no picture")
        return obj

    def loads(self, blob: bytes) -> bytes:
        """Return what `dumps` was given; raise `ValueError` for what is no PNG file."""
        if not blob.startswith(PNG_SIGNATURE):
            raise ValueError("no picture")
        return blob


EXTENSIONS = {"parquet": ".parquet", "json-value": ".json", "skops": ".skops", "png": ".png"}


def _same_every_time(blob: bytes) -> bytes:
    """Return a skops file without what differs from process to process, and each second.

    skops names the parts of a model by their places in memory, and a ZIP file says when it was
    made. Here they are counted instead: equal models are equal files.
    """
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    names: dict[Any, Any] = {}

    def count(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("is_json"):
                del node["__id__"]  # whether two equal texts are one in memory says nothing
            if "__id__" in node:
                node["__id__"] = names.setdefault(node["__id__"], len(names) + 1)
            if isinstance(node.get("file"), str) and node["file"] in parts:
                name = f"{len(names) + 1}{PurePath(node['file']).suffix}"
                node["file"] = names.setdefault(node["file"], name)
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, dict | list):
                count(value)

    schema = json.loads(parts.pop("schema.json"))
    count(schema)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(names[name]), content)
        archive.writestr(zipfile.ZipInfo("schema.json"), json.dumps(schema, indent=2))
    return made.getvalue()


def _give_memory_back() -> None:
    # Arrow keeps what it no longer uses: 120 of 813 MB of a run on 1,500,000 rows.
    pa.default_memory_pool().release_unused()


def _table(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame)


def _split_to_table(split: dict[str, pd.DataFrame]) -> pa.Table:
    parts = []
    for name in ("train", "test"):
        x, y = (
            pa.Table.from_pandas(split[f"{name}_{axis}"], preserve_index=False) for axis in "xy"
        )
        for column in y.column_names:
            x = x.append_column(y.schema.field(column), y.column(column))
        names = pa.DictionaryArray.from_arrays(pa.array([0] * len(x), pa.int8()), pa.array([name]))
        parts.append(x.add_column(0, SET_COLUMN, names))
    table = pa.concat_tables(parts, unify_dictionaries=True)
    labels = json.dumps(list(split["train_y"].columns)).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), LABELS_KEY: labels})


def _split_from_table(table: pa.Table) -> dict[str, pd.DataFrame]:
    labels = json.loads(table.schema.metadata[LABELS_KEY])
    rows_for_training = pc.sum(pc.equal(table.column(0), "train")).as_py()
    table = table.remove_column(0)
    features = [name for name in table.column_names if name not in labels]
    split = {}
    # The rows for training come first, so nothing has to be looked for, nor copied.
    for name, start, stop in (
        ("train", 0, rows_for_training),
        ("test", rows_for_training, len(table)),
    ):
        rows = table.slice(start, stop - start)
        split[f"{name}_x"] = rows.select(features).to_pandas()
        split[f"{name}_y"] = rows.select(labels).to_pandas()
    return split

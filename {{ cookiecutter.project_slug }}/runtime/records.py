"""The record of a result: what its file must hold, and what it was computed from.

It lies next to the file, as `.records/<task>.json`. The module does not import Prefect.
"""

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any

from runtime.errors import UserError
from runtime.storage import Storage

FOLDER = ".records"
# The formats of `runtime.formats`, and how their files end. Prefect would also read pickles, which
# run code when they are opened.
EXTENSIONS = {"parquet": ".parquet", "json-value": ".json", "skops": ".skops", "png": ".png"}


class Mismatch(ValueError):
    """A file is not what its record says; the text says why."""


def record_key(file: str) -> str:
    """Return the key of a record: `a/b.parquet` has `a/.records/b.json`."""
    path = PurePosixPath(file)
    return str(path.parent / FOLDER / f"{path.name.partition('.')[0]}.json")


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()


def verify(record: dict[str, Any], content: bytes) -> None:
    """Raise `Mismatch` unless a file fits its record and has a format that is safe to open."""
    if record["serializer"]["type"] not in EXTENSIONS:
        raise Mismatch(f"is a {record['serializer']['type']}, which is not opened")
    if record["sha256"] != sha256(content):
        raise Mismatch("is damaged")


def read_verified(files: Storage, location: str) -> tuple[dict[str, Any], bytes]:
    """Return the record of the result at `<run>/<task>`, and the bytes of its file.

    Raises `FileNotFoundError` for a missing result, `UserError` for a damaged one.
    """
    key = record_key(location)
    try:
        record = json.loads(files.get(key))
        if record_key(record["file"]) != key:
            raise Mismatch("belongs to another file")
        key = record["file"]
        content = files.get(key)
        verify(record, content)
    except (FileNotFoundError, UserError):
        raise
    except Exception as error:  # anything may be in a file that somebody sent
        raise damaged(files, key, error) from None
    return record, content


def damaged(files: Storage, key: str, error: Exception) -> UserError:
    """Return the error for a file that cannot be used."""
    reason = error if isinstance(error, Mismatch) else "is damaged"
    return UserError(f"{files.location(key)} {reason}: run its flow again.")

"""Predicts with the newest model on disk, without Prefect: a prediction takes no server."""

import hashlib
import io
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from flows import UserError, shown
from flows.history import facts_of, has_kept, newest_first
from flows.places import Place, place

# What skops does not trust by itself, but may: a dtype only describes an array.
TRUSTED = ["numpy.dtype"]
MODEL = re.compile(r"[^.].*\.skops")  # not what a run that was killed had begun to write
LARGEST_NUMBER = 1e150  # its square is still a number, and so are sums of squares
MAY_SWELL_BYTES = 128 * 2**20


def predict_row(values: list[str]) -> str:
    """Return class and probability for one row of feature values, in the order of training."""
    model = newest_model()
    features = list(model.feature_names_in_)
    if len(values) != len(features):
        raise UserError(f"The model needs {len(features)} values: {', '.join(features)}.")
    answer = _predict(model, pd.DataFrame([values], columns=features)).iloc[0]
    return f"{answer['class']} (probability {answer['probability']:.3f})"


def predict_file(path: Path) -> str:
    """Return the rows of a CSV file, as CSV, with the columns class and probability added."""
    from flows.checks import read_csv

    model = newest_model()
    rows = read_csv(path)
    missing = [name for name in model.feature_names_in_ if name not in rows.columns]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}.")
    return rows.join(_predict(model, rows)).to_csv(index=False, lineterminator="\n").rstrip("\n")


def newest_model() -> Any:
    """Return the model of the newest run that came to its end.

    Raises `UserError` where there is none, and for a file that is damaged or no such model.
    """
    models = place("models")
    for run in newest_first(models.runs()):
        for key in sorted(models.files(run), reverse=True):
            path = PurePosixPath(key)
            if MODEL.fullmatch(path.name) and has_kept(run, path.stem):
                return _read(models, key)
    raise UserError("There is no model yet: train one with `python main.py`.")


def _read(models: Place, key: str) -> Any:
    where = models.where(key)
    path = PurePosixPath(key)
    result = facts_of(path.parts[0]).get("results", {}).get(path.stem, {})
    try:
        blob = models.get(key)
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror or error}.") from None
    try:
        if result.get("sha256") not in (None, hashlib.sha256(blob).hexdigest()):
            raise UserError("its checksum is another, it is damaged: run its flow again.")
        model = loads(blob)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if "columns" not in getattr(model, "named_steps", ()):
        raise UserError(f"{where} is not a model that train_model made.")
    return model


def loads(blob: bytes) -> Any:
    """Return the model in the bytes of a skops file.

    Raises `UserError` for bytes that are no skops file, or that hold a type which neither
    scikit-learn nor NumPy defines: such a file could run code when it is opened. So it does for
    one that is small and would fill the memory.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            refuse_swelling(sum(entry.file_size for entry in archive.infolist()), blob, 20)
        unknown = set(skops.io.get_untrusted_types(data=blob)) - set(TRUSTED)
        if unknown:
            raise UserError(
                f"The model holds types that are not trusted: {', '.join(sorted(unknown))}."
            )
        return skops.io.loads(blob, trusted=TRUSTED)
    except UserError:
        raise
    except Exception as error:  # a damaged file fails anywhere inside zipfile, json or NumPy
        raise UserError(f"The model cannot be read, it is damaged: {error}.") from None


def refuse_swelling(opened: int, blob: bytes, most: int) -> None:
    """Raise `UserError` for a file that takes `opened` bytes in memory, `most` times its own.

    Some kilobytes can say how to fill all the memory there is. Small ones may swell as they like.
    """
    if opened > MAY_SWELL_BYTES + most * len(blob):
        raise UserError(
            f"Opening it would take {opened / 1e6:.0f} MB of memory, "
            f"and the file has {len(blob) / 1e6:.3f} MB: it is not opened."
        )


def _predict(model: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the likeliest class of each row, and its probability from 0 to 1."""
    features = rows[list(model.feature_names_in_)].copy()
    for kind, _, names in model.named_steps["columns"].transformers_:
        for name in names:
            features[name] = (
                _as_numbers(features[name]) if kind == "numbers" else features[name].astype("str")
            )
    probabilities = model.predict_proba(features)
    return pd.DataFrame(
        {
            "class": model.classes_[probabilities.argmax(axis=1)],
            "probability": probabilities.max(axis=1),
        },
        index=rows.index,
    )


def _as_numbers(values: pd.Series) -> pd.Series:
    try:
        numbers = pd.to_numeric(values).astype("float64")
    except (ValueError, OverflowError) as error:
        no_number = values[values.notna() & pd.to_numeric(values, errors="coerce").isna()]
        reason = f", not {shown(repr(no_number.iloc[0]))}" if len(no_number) else f": {error}"
        raise UserError(f"{values.name} must be a number{reason}.") from None
    if (numbers.abs() > LARGEST_NUMBER).any():
        raise UserError(f"{values.name} must not be infinite, nor beyond {LARGEST_NUMBER:.0e}.")
    return numbers

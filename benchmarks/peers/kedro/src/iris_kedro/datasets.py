"""Datasets of our own, as Kedro's documentation describes them: skops files and pictures."""

from pathlib import Path

import skops.io
from kedro.io import AbstractDataset


class _File(AbstractDataset):
    def __init__(self, filepath: str) -> None:
        self._path = Path(filepath)

    def _describe(self):
        return {"filepath": str(self._path)}


class SkopsDataset(_File):
    """A scikit-learn model in a skops file."""

    def load(self):
        """Return the model."""
        return skops.io.load(self._path, trusted=["numpy.dtype"])

    def save(self, data) -> None:
        """Write the model."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        skops.io.dump(data, self._path)


class PictureDataset(_File):
    """The bytes of a picture."""

    def load(self):
        """Return the bytes."""
        return self._path.read_bytes()

    def save(self, data) -> None:
        """Write the bytes."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(data)

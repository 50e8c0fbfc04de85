"""A dataset of our own, as Kedro's documentation describes: models as skops files."""

from pathlib import Path

import skops.io
from kedro.io import AbstractDataset


class SkopsDataset(AbstractDataset):
    """A scikit-learn model in a skops file."""

    def __init__(self, filepath: str) -> None:
        self._path = Path(filepath)

    def load(self):
        """Return the model."""
        return skops.io.load(self._path, trusted=["numpy.dtype"])

    def save(self, data) -> None:
        """Write the model."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        skops.io.dump(data, self._path)

    def _describe(self):
        return {"filepath": str(self._path)}

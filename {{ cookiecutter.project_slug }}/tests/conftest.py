"""What the tests share: a Prefect server, and for each test a copy of the data to work on."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.testing.utilities import prefect_test_harness

from runtime import settings


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server for all tests, with a database of its own."""
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
def project(prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which flows run: they read its data, and leave their outputs there."""
    for name in ("data/raw", "ml"):
        if (settings.ROOT / name).is_dir():
            shutil.copytree(settings.ROOT / name, tmp_path / name)
    shutil.copy(settings.ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def facts(project: Path) -> Callable[[str], dict[str, Any]]:
    """Returns what the run.json of a run says."""

    def read(run: str) -> dict[str, Any]:
        return json.loads((project / "data/processed" / run / "run.json").read_text("utf-8"))

    return read

"""What the tests share: a Prefect server, and for each test a copy of the data to work on."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from runtime import server, settings


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server for all tests, with a database of its own.

    Prefect's `prefect_test_harness` does the same, and takes much longer to make its tables.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        started = server.start()
        server.wait_until_ready(started)
        with temporary_settings({PREFECT_API_URL: started.api_url}):
            yield  # the server stops with this process, when Prefect has sent its last logs


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

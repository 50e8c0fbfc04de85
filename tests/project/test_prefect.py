"""What the runtime uses of Prefect and uvicorn that no guide documents: is it still there?

docs/design.md has the same list, with the reasons.
"""

import inspect
from importlib import import_module
from pathlib import Path

import prefect
import pytest
from prefect import task
from prefect.filesystems import WritableFileSystem

NAMES = {
    "prefect.server.api.server:create_app": "runtime/server/process.py",
    "uvicorn:Config.get_loop_factory": "runtime/server/process.py",
    "prefect.utilities.visualization:TaskVizTracker": "runtime/graphs.py",
    "prefect.utilities.visualization:VizTask": "runtime/graphs.py",
    "prefect.utilities.visualization:build_mermaid_dependencies": "runtime/graphs.py",
    "prefect.utilities.visualization:build_task_dependencies": "runtime/graphs.py",
    "prefect.logging.handlers:PrefectConsoleHandler.emit": "runtime/console.py",
    "prefect.context:refresh_global_settings_context": "runtime/direct.py",
    "prefect.logging.configuration:setup_logging": "runtime/server/warm.py",
    "prefect.runner:Runner.start": "lessons/workshop/serving.py",
    "prefect.flow_engine:run_flow": "lessons/workshop/serving.py",
}
WORDS = {
    "client/orchestration/__init__.py": ("Found incompatible versions", "server/errors.py"),
    "utilities/engine/__init__.py": ("Failed to reach API at", "server/errors.py"),
    "_internal/result_records.py": ("Failed to serialize object of type", "console.py"),
    "_internal/concurrency/services.py": ("Still processing items", "console.py"),
    "flows.py": ("Parameter validation failed for flow", "console.py"),
    "flow_engine.py": ("Validation of flow parameters failed", "console.py"),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_no_guide_documents_is_still_there(name: str) -> None:
    module, _, path = name.partition(":")
    found = import_module(module)
    for part in path.split("."):
        assert hasattr(found, part), f"{name} is gone: mend {NAMES[name]}"
        found = getattr(found, part)


def test_a_store_of_results_can_still_do_without_memory() -> None:
    fields = import_module("prefect.results").ResultStore.model_fields
    assert "cache_result_in_memory" in fields, "mend runtime/caching.py"


def test_the_server_is_still_made_without_its_pages_for_a_single_run() -> None:
    create_app = import_module("prefect.server.api.server").create_app
    assert "ephemeral" in inspect.signature(create_app).parameters, "mend runtime/server/process.py"


def test_the_log_can_still_be_set_up_once_more() -> None:
    setup_logging = import_module("prefect.logging.configuration").setup_logging
    assert "incremental" in inspect.signature(setup_logging).parameters, (
        "mend runtime/server/warm.py"
    )


@pytest.mark.parametrize("file", WORDS)
def test_prefect_still_says_it_in_these_words(file: str) -> None:
    words, module = WORDS[file]
    source = Path(prefect.__file__).parent / file
    assert words in source.read_text(encoding="utf-8"), f"mend runtime/{module}"


def test_a_task_still_refuses_a_storage_without_the_id_of_a_block() -> None:
    class WithoutId(WritableFileSystem):
        def read_path(self, path: str) -> bytes:  # type: ignore[override]
            return b""

        def write_path(self, path: str, content: bytes) -> None:  # type: ignore[override]
            pass

    try:
        task(result_storage=WithoutId())(lambda: None)
    except TypeError:
        return
    pytest.fail("drop _block_document_id from runtime/results.py: a task takes a storage without")

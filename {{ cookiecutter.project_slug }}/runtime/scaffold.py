"""Writes a new flow with one task, and a test of it, to start from."""

import keyword
import re
from collections.abc import Container
from string import Template

from runtime import settings
from runtime.errors import UserError, printable

MOST_CHARACTERS = 36  # so that no line of the two files is too long
RESERVED_BY_WINDOWS = re.compile(r"(aux|con|nul|prn|com\d|lpt\d)")

FLOW = Template('''\
"""The flow `$flow`."""

from prefect import flow, task

from runtime import LocalResult, current_run, in_run_folder

PROCESSED = LocalResult(dir="data/processed")


@task(result_storage=PROCESSED, result_serializer="json-value", cache_policy=PROCESSED.per_run)
def double(number: int) -> int:
    """Return the number times two: your own step takes its place."""
    return 2 * number


@flow(name="$flow", log_prints=True)
@in_run_folder
def $module(number: int = 21) -> str:
    """Call the task; return the run's name."""
    print(f"Twice {number} is {double(number)}")
    return current_run()
''')
TEST = Template('''\
"""The flow `$flow`, and its task as a function."""

from pathlib import Path

from flows.$module import $imported
from runtime import LocalResult


def test_double_returns_a_number_times_two() -> None:
    assert double.fn(4) == 8


def test_$module(project: Path) -> None:
    run = $module(number=4)
    assert LocalResult(dir="data/processed").read(location=f"{run}/double").value == 8
''')


def write_flow(name: str, taken: Container[str]) -> list[str]:
    """Write `flows/<name>.py` and `tests/test_<name>.py`; return these two paths.

    `taken` has the names of the existing flows. Raises `UserError` for these, for names that the
    files use themselves, for names invalid in Python or on Windows, and for a file that exists.
    """
    module = name.replace("-", "_")
    flow = module.replace("_", "-")
    if (
        not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name)
        or len(name) > MOST_CHARACTERS
        or keyword.iskeyword(module)
        or RESERVED_BY_WINDOWS.fullmatch(module)
    ):
        raise UserError(
            f"{printable(name)!r} is not allowed as the name of a flow: lower-case letters a-z, "
            f"digits and single - or _ between them, at most {MOST_CHARACTERS}, and no word that "
            "Python or Windows reserves; for example clean-data."
        )
    if flow in taken or module in re.findall(r"\w+", FLOW.template):
        raise UserError(f"The name {flow!r} is taken: choose another one.")
    imported = ", ".join(sorted(["double", module]))
    files = {f"flows/{module}.py": FLOW, f"tests/test_{module}.py": TEST}
    for path in files:
        if (settings.ROOT / path).exists():
            raise UserError(f"{path} exists: choose another name.")
    for path, text in files.items():
        file = settings.ROOT / path
        file.parent.mkdir(exist_ok=True)
        content = text.substitute(flow=flow, module=module, imported=imported)
        file.write_text(content, encoding="utf-8", newline="\n")
    return list(files)

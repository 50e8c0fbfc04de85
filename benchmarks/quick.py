"""What CI runs: every assertion of the benchmark once, on few rows, without any figure."""

from __future__ import annotations

from dataclasses import replace

import measure
from contenders import OURS, checked, folder, plain_folder, same_libraries, use_raw, write_data
from data import notices_a_changed_byte
from measure import WrongError, say
from tasks import trivial_tasks

ROWS = 1_500
TASKS = 10


def quick() -> None:
    """Raise `WrongError` where a pipeline gives a wrong result, or a changed byte is not noticed.

    Plain script and Prefect as documented run in the environment of our project, so that one
    environment is enough: the versions are the same.
    """
    same_libraries(["plain", "prefect", "kedro", "dagster", "luigi", "metaflow"])
    raw = write_data(ROWS)
    _, expected = plain_folder(raw, environment=OURS)
    ours, prefect = folder(OURS, "quick"), folder("prefect", "quick", environment=OURS)
    for project in (ours, prefect):
        use_raw(project, raw)

    once = checked(ours.command("ours", "main.py"), ours, expected)
    again = replace(once, name="ours, second run", prepare=lambda: None)
    documented = checked(prefect.command("Prefect", "pipeline.py"), prefect, expected)
    for command in (once, again, documented):
        measure.run(command)
        say(f"{command.name}: the same split and accuracy as the plain script")
    if not notices_a_changed_byte(ours, again):
        raise WrongError("ours: a changed byte of the raw file is not noticed")
    say("ours: a changed byte of the raw file is noticed")
    measure.run(trivial_tasks("ours", ours, TASKS))
    say(f"ours: each of {TASKS} tasks is recorded")

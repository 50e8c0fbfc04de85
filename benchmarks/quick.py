"""What CI runs: every assertion of the benchmark once, on few rows, without any figure."""

from __future__ import annotations

from dataclasses import replace

import measure
from contenders import checked, folder, plain_folder
from data import notices_a_changed_byte
from environments import OURS
from measure import WrongError, say
from rows import write_data
from tasks import trivial_tasks

ROWS = 1_500
TASKS = 10


def quick() -> None:
    """Raise `WrongError` where a pipeline gives a wrong result, or a changed byte is not noticed.

    Plain script and Prefect as documented run in the environment of our project, so that one
    environment is enough: the versions are the same.
    """
    raw = write_data(ROWS)
    _, expected = plain_folder(raw, environment=OURS)
    ours = folder(OURS, "quick", raw=raw)
    prefect = folder("prefect", "quick", environment=OURS, raw=raw)

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

"""What CI runs: every assertion of the benchmark once, on few rows, without any figure."""

from __future__ import annotations

from contenders import folder, in_agreement
from data import notices_a_changed_byte
from environments import OURS
from measure import WrongError, compare, run, say
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
    plain = folder("plain", environment=OURS, raw=raw)
    ours = folder(OURS, "quick", raw=raw)
    prefect = folder("prefect", "quick", environment=OURS, raw=raw)
    again = ours.command("ours, second run", "main.py", keep=True)
    pairs = [
        (plain, plain.command("plain script", "pipeline.py")),
        (ours, ours.command("ours", "main.py")),
        (ours, again),
        (prefect, prefect.command("Prefect as documented", "pipeline.py")),
    ]
    compare(in_agreement(plain, pairs), 1, warmups=0)
    say("all of them: the same split and accuracy")
    if not notices_a_changed_byte(ours, again):
        raise WrongError("ours: a changed byte of the raw file is not noticed")
    say("ours: a changed byte of the raw file is noticed")
    run(trivial_tasks("ours", ours, TASKS))
    say(f"ours: each of {TASKS} tasks is recorded")

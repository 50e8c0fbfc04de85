"""Compares this project with its peers: `python benchmarks/bench.py [PART ...]`.

Without a part it measures all of them, one after the other, and writes the results after each: an
interruption costs only the part that was running. `report` writes the results again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import report
from data import SIZES, data
from environments import same_libraries
from generation import generation
from measure import WrongError, say
from quick import quick
from sections import Section
from size import size
from start import cold, commands, first, served
from tasks import tasks

PARTS: dict[str, Callable[[int], Section]] = {
    part.__name__: part for part in (cold, served, first, commands, generation, tasks, data, size)
}
ROUNDS = 5


def main() -> int:
    """Measure what was asked for; return 1 where a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", type=_part, metavar="PART")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds after the warm-up")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="sizes for `data`")
    parser.epilog = f"Parts: {', '.join(PARTS)}; quick (what CI runs), report"
    options = parser.parse_args()
    start = time.monotonic()
    try:
        same_libraries()
        if options.parts == ["quick"]:
            quick()
        for name in options.parts or PARTS:
            if name in PARTS:
                _measure(name, options)
    except WrongError as error:
        print(f"Wrong: {error}", file=sys.stderr)
        return 1
    if options.parts != ["quick"]:
        report.write()
        say("benchmarks/results.md and benchmarks/results.png are written.")
    say(f"{(time.monotonic() - start) / 60:.1f} minutes")
    return 0


def _part(name: str) -> str:
    # Not `choices`: with Python 3.11, argparse refuses a command without any part.
    if name not in (*PARTS, "quick", "report"):
        raise argparse.ArgumentTypeError(f"there is no part {name!r}")
    return name


def _measure(name: str, options: argparse.Namespace) -> None:
    say(f"{name} ...")
    if name == "data":
        section = data(options.rounds, tuple(options.rows))
    else:
        section = PARTS[name](options.rounds)
    section.save()
    report.write()
    for goal in section.goals:
        mark = {True: "met", False: "NOT met", None: "-"}[goal.met]
        say(f"  goal {goal.number}: {goal.text}: {goal.figure} [{mark}]")


if __name__ == "__main__":
    sys.exit(main())

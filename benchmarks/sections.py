"""What a part of the benchmark found: goals with their figures, a table, and series for the chart.

Each part is kept as a file in build/bench/results/ as soon as it is measured.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from environments import BUILD
from measure import Samples, ratios, spread

RESULTS = BUILD / "results"


@dataclass
class Goal:
    """A goal of the project, and the figure that was measured for it."""

    number: int
    text: str
    figure: str
    met: bool | None  # None: it was not measured


@dataclass
class Section:
    """One part of the results."""

    name: str
    title: str
    text: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)  # what the chart draws
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

    def save(self) -> None:
        """Keep it for the report."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        file = RESULTS / f"{self.name}.json"
        file.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def add_times(self, samples: dict[str, Samples], base: str, skip: Sequence[str] = ()) -> None:
        """Add a row for each command: seconds, and times the base, pair by pair."""
        for name, sample in samples.items():
            if name not in skip:
                times = ratios(sample.seconds, samples[base].seconds)
                self.rows.append([name, spread(sample.seconds), spread(times)])
                self.series[name] = statistics.median(times)

    def at_most(
        self, number: int, text: str, limit: float, values: Sequence[float], unit: str = "×"
    ) -> None:
        """Add a goal whose median value is to be at most `limit`."""
        met = statistics.median(values) <= limit
        figure = f"{spread(values)} {unit}"
        self.goals.append(Goal(number, f"{text}: at most {limit:g} {unit}", figure, met))

    def holds(self, number: int, text: str, figure: str, met: bool | None) -> None:
        """Add a goal that is met or not, and what was found."""
        self.goals.append(Goal(number, text, figure, met))


def load(name: str) -> Section | None:
    """Return a part that was measured, or None."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return None
    known = json.loads(file.read_text(encoding="utf-8"))
    known["goals"] = [Goal(**goal) for goal in known["goals"]]
    return Section(**known)

"""Goals 7 and 8: the same pipeline on 150 to 15,000,000 rows; a second run; a changed byte."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.parquet as pq
from contenders import Folder, floor, folder, in_agreement
from environments import OURS
from measure import Command, Samples, compare, ratios, run, say, spread
from rows import change_a_byte, write_data
from sections import Section, load

SIZES = (150, 15_000, 150_000, 1_500_000, 15_000_000)
LARGE = 1_500_000  # from here on the goals for large data apply
LARGEST = 15_000_000  # takes minutes: fewer rounds, and no peers
LARGEST_ROUNDS = 3
PEERS_ROUNDS = 2
MEMORY_FOR_LARGEST = 12 * 2**30  # bytes
FIRST, SECOND = "ours", "ours, second run"
PLAIN = "plain script"
MIB = 2**20


@dataclass
class Size:
    """The measurements for one number of rows."""

    rows: int
    samples: dict[str, Samples]
    changed_byte_noticed: bool


def data(rounds: int, sizes: tuple[int, ...] = SIZES) -> Section:
    """Measure every size; each is kept by itself, so that an interruption costs only one."""
    for rows in sizes:
        say(f" {rows} rows")
        if rows == LARGEST and psutil.virtual_memory().total < MEMORY_FOR_LARGEST:
            say("  left out: this machine has less memory than 12 GiB")
            continue
        _section(measure(rows, min(rounds, LARGEST_ROUNDS) if rows == LARGEST else rounds)).save()
    return combine()


def combine() -> Section:
    """Return one section of all the sizes that were measured."""
    text = (
        "Iris repeated with noise. Time and peak memory (resident, of all processes that compute, "
        "sampled every 50 ms) in turn with the plain script on the same file; Prefect's server is "
        "counted apart. Outputs of earlier runs are removed before each run, except before "
        "`second run`, which finds those of the run just before it. Rounds come after a warm-up, "
        f"but for {LARGEST:,} rows, where the peers take no part."
    )
    columns = ["rows", "", "seconds", "× plain", "MiB", "× plain", "server, MiB", "rounds"]
    whole = Section("data", "Rows", text, columns)
    for rows in SIZES:
        if part := load(f"data-{rows}"):
            whole.rows += part.rows
            whole.goals += part.goals
            whole.series |= part.series
            whole.date = part.date
    if not any(row[0] == f"{LARGEST:,}" for row in whole.rows):
        whole.text += f" {LARGEST:,} rows were not measured."
    return whole


def measure(rows: int, rounds: int) -> Size:
    """Measure all contenders on one size; of the largest, only the plain script and ours."""
    raw = write_data(rows)
    plain, ours = folder("plain", raw=raw), folder(OURS, "data", raw=raw)
    again = ours.command(SECOND, "main.py", keep=True)
    pairs: list[tuple[Folder, Command]] = [
        (plain, plain.command(PLAIN, "pipeline.py")),
        (ours, ours.command(FIRST, "main.py")),
        (ours, again),
    ]
    if rows < LARGEST:
        peers = [floor(raw), *_peers(raw)]
        pairs += [(of, replace(one, most_rounds=PEERS_ROUNDS)) for of, one in peers]
    warmups = 1 if rows < LARGEST else 0
    samples = compare(in_agreement(plain, pairs), rounds, warmups=warmups, memory=True)
    say("  a changed byte: ", end="")
    noticed = notices_a_changed_byte(ours, again)
    say("noticed" if noticed else "NOT NOTICED")
    return Size(rows, samples, noticed)


def notices_a_changed_byte(ours: Folder, again: Command) -> bool:
    """Change one byte of the raw file, run once more, and return whether the split has it."""
    before = _split_is_of_raw(ours)
    change_a_byte(ours)
    unnoticed = _split_is_of_raw(ours)  # else the change is too small to be detected
    run(again)
    return before and not unnoticed and _split_is_of_raw(ours)


def _split_is_of_raw(ours: Folder) -> bool:
    """Return whether the newest split has the rows of the raw file, by the mean of a column."""
    column = "sepal_length"
    newest = max((ours.path / "data" / "processed").glob("*/split_data.parquet"))
    split = pq.read_table(newest, columns=[column]).to_pandas()[column]
    raw = pd.read_csv(ours.raw, usecols=[column])[column]
    return math.isclose(split.mean(), raw.mean(), rel_tol=1e-10)


def _peers(raw: Path) -> list[tuple[Folder, Command]]:
    kedro, luigi = folder("kedro", "data", raw=raw), folder("luigi", "data", raw=raw)
    dagster, prefect = folder("dagster", "data", raw=raw), folder("prefect", "data", raw=raw)
    return [
        (kedro, kedro.command("Kedro", "kedro", "run")),
        (luigi, luigi.command("Luigi", "pipeline.py")),
        (dagster, dagster.command("Dagster, in process", "pipeline.py")),
        (prefect, prefect.command("Prefect, default results", "pipeline.py")),
    ]


def _section(size: Size) -> Section:
    section = Section(f"data-{size.rows}", "", "", [])
    plain = size.samples[PLAIN]
    for name, sample in size.samples.items():
        times = ratios(sample.seconds, plain.seconds)
        shares = ratios(sample.memory, plain.memory)
        server = statistics.median(sample.server_memory) / MIB
        section.rows.append(
            [
                f"{size.rows:,}",
                name,
                spread(sample.seconds),
                spread(times),
                f"{statistics.median(sample.memory) / MIB:.0f}",
                spread(shares),
                f"{server:.0f}" if server else "",
                str(len(sample.seconds)),
            ]
        )
        section.series[f"{name}/{size.rows}"] = [
            statistics.median(times),
            statistics.median(shares),
        ]
        if name == FIRST and size.rows >= LARGE:
            section.at_most(7, f"Time on {size.rows:,} rows", 1.15, times)
            section.at_most(7, f"Peak memory on {size.rows:,} rows", 1.25, shares)
    share = ratios(size.samples[SECOND].seconds, size.samples[FIRST].seconds)
    met = statistics.median(share) < 1 and size.changed_byte_noticed
    figure = f"{spread(share)} ×; changed byte {'' if size.changed_byte_noticed else 'NOT '}noticed"
    text = f"Second run on {size.rows:,} rows faster than the first, a changed byte is noticed"
    section.holds(8, text, figure, met)
    return section

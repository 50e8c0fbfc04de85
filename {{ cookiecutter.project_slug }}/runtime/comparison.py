"""`python main.py runs`: the table of all runs, and the differences of two, as run.json has them.

It needs neither Prefect nor pandas: a table of 1,000 runs takes less than a second.
"""

import csv
import html
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from string import Template
from typing import Any

from rich.cells import cell_len, set_cell_size

from runtime import settings
from runtime.errors import UserError, printable
from runtime.history import PROCESSED, newest_first, read_run, read_runs, say_once
from runtime.storage import storage

Row = dict[str, Any]  # by the name of a column; values that a run does not have are missing

FIRST = ("run", "flow", "started", "seconds", "state", "accuracy")
READ_AT_ONCE = 20  # run.json, until there are as many runs as are asked for
GAP = 2  # spaces between two columns of the terminal
COMPARED = ("flow", "state", "reads", "raw_file", "data", "versions", "metrics", "code")
DAMAGES = (AttributeError, TypeError, ValueError)  # a person may have edited a run.json


def show_runs(
    sort: str | None, flow: str | None, last: int | None, *, as_csv: bool, as_html: bool
) -> None:
    """Print the table of the runs, print it as CSV, or write it to `reports/runs.html`.

    `last` counts the newest runs, of `flow` where it is given; `sort` names a column or a
    parameter. Raises `UserError` where there is no such run, or none has what `sort` names.
    """
    if as_csv and as_html:
        raise UserError("Give --csv or --html, not both.")
    runs = _read(flow, last)
    rows = [{**parameters, **cells} for cells, parameters in runs]
    cells = dict.fromkeys(chain(FIRST, *(cells for cells, _ in runs)))
    parameters = dict.fromkeys(chain(*(parameters for _, parameters in runs)))
    # Parameters in which the runs differ, and all of the model's, which matter most.
    values = {name: {_text(row[name]) for row in rows if name in row} for name in parameters}
    shown = [n for n in values if n not in cells and ("." in n or len(values[n]) > 1)]
    others = [name for name in cells if name not in FIRST]
    columns = [*FIRST, *shown, *others]
    if sort:
        rows = _sorted(rows, sort)
    if as_csv:
        table = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    elif as_html:
        path = settings.ROOT / "reports" / "runs.html"
        path.parent.mkdir(exist_ok=True)
        path.write_text(_page(rows, columns), encoding="utf-8")
        print(path.relative_to(settings.ROOT).as_posix())
    else:
        less = [*reversed(others), "started", "seconds", *reversed(shown)]
        _print(rows, columns, [name for name in less if name != sort])


def show_differences(one: str, other: str) -> None:
    """Print how two runs differ; a part of a run's name is enough if no other run has it.

    Raises `UserError` for a run that does not exist, and for a run.json that is damaged.
    """
    runs = [_find(one), _find(other)]
    left, right = map(_facts, runs)
    rows = []
    for name in dict.fromkeys([*left, *right]):
        values = left.get(name), right.get(name)
        if values[0] != values[1]:  # numbers with all digits: they may differ in the last
            exact = [repr(value) if isinstance(value, float) else value for value in values]
            rows.append({"": name, **dict(zip(runs, exact, strict=True))})
    if rows:
        _print(rows, ["", *runs], less=[])
    else:
        print("They differ in nothing: parameters, data, versions, metrics and code are the same.")


def _read(flow: str | None, last: int | None) -> list[tuple[Row, Row]]:
    """Return the cells of each run, the newest first, and its parameters."""
    names = list(newest_first(storage(PROCESSED).folders()))
    at_once = max(last, READ_AT_ONCE) if last else len(names)  # a bucket is slow
    runs: list[tuple[Row, Row]] = []
    flows = set()
    while names and (last is None or len(runs) < last):
        for run, facts in read_runs(names[:at_once]).items():
            try:
                cells, parameters = _cells(run, facts), dict(_flat(_parameters(facts)))
            except DAMAGES:
                say_once(f"{_strange(run)} This run is left out.")
                continue
            flows.add(_text(cells["flow"]))
            if flow in (None, cells["flow"]):
                runs.append((cells, parameters))
        del names[:at_once]
    if not flows:
        raise UserError("There is no run to show: `python main.py` starts one.")
    if not runs:
        raise UserError(f"There is no run of {_text(flow)!r}, but of: {', '.join(sorted(flows))}.")
    return runs[:last]


def _cells(run: str, facts: Row) -> Row:
    began, ended = (
        datetime.fromisoformat(facts[name]).astimezone() if name in facts else None
        for name in ("started", "ended")
    )
    return {
        "raw_file": facts.get("raw_file", {}).get("path"),
        **facts.get("metrics", {}),
        "run": run,
        "flow": facts.get("flow"),
        "started": began,
        "seconds": round((ended - began).total_seconds(), 1) if began and ended else None,
        "state": facts.get("state"),
    }


def _parameters(facts: Row) -> Row:
    """Return the parameters of a run, and those of its model that `tune` found."""
    found = {"model_params": facts["model_params"]} if "model_params" in facts else {}
    return {**facts.get("flows", {}).get(facts.get("flow"), {}).get("parameters", {}), **found}


def _facts(run: str) -> Row:
    """Return a run's compared facts by full name."""
    try:
        facts = read_run(run)
        compared = {name: facts.get(name) for name in COMPARED}
        return dict(_flat({"parameters": _parameters(facts), **compared}))
    except DAMAGES:
        raise UserError(_strange(run)) from None


def _strange(run: str) -> str:
    return f"{storage(PROCESSED).location(run)}/run.json is not what a run writes."


def _find(part: str) -> str:
    """Return the run with this name, or the only one whose name has this part in it."""
    runs = storage(PROCESSED).folders()
    found = [run for run in runs if run == part] or [run for run in runs if part in run]
    if len(found) == 1 and read_run(found[0]):
        return found[0]
    name, where = repr(printable(part)), storage(PROCESSED).location()
    if len(found) > 1:
        raise UserError(f"{len(found)} runs in {where} have {name} in their name: give more of it.")
    raise UserError(f"There is no run {name} in {where}: check its name.")


def _flat(values: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all names and values; a value in an object is named `object.name`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _sorted(rows: list[Row], name: str) -> list[Row]:
    """Return the rows in order: largest number or newest first, texts from A on, gaps last."""
    filled = [row for row in rows if _text(row.get(name)) not in ("", "nan")]
    gaps = [row for row in rows if _text(row.get(name)) in ("", "nan")]
    if not filled:
        known = ", ".join(sorted(map(printable, {*chain(*rows)})))
        raise UserError(f"--sort {printable(name)}: no run shown has that, but: {known}.")
    down = all(isinstance(row[name], (int, float, datetime)) for row in filled)
    filled.sort(key=lambda row: row[name] if down else _text(row[name]), reverse=down)
    return filled + gaps


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _print(rows: list[Row], columns: list[str], less: Iterable[str]) -> None:
    """Print the table; in a narrow terminal, drop the columns `less` one by one until it fits.

    Without rich, which would take two seconds for 1,000 rows.
    """
    texts = {name: [printable(name), *(_text(row.get(name)) for row in rows)] for name in columns}
    widths = {name: max(map(cell_len, texts[name])) + GAP for name in columns}
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    left_out = []
    for name in less:
        if sum(widths.values()) > room + GAP:
            left_out += [printable(name)]
            del widths[name]
    for line in zip(*(texts[name] for name in widths), strict=True):
        print("".join(map(set_cell_size, line, widths.values())).rstrip())
    if left_out:
        print(f"There is no room for {', '.join(left_out)}: see --csv or --html.", file=sys.stderr)


def _page(rows: list[Row], columns: list[str]) -> str:
    page = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    names = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    texts = [[html.escape(_text(row.get(name))) for name in columns] for row in rows]
    lines = "\n".join(f"<tr><td>{'</td><td>'.join(line)}</td></tr>" for line in texts)
    return page.substitute(count=len(rows), names=names, rows=lines)

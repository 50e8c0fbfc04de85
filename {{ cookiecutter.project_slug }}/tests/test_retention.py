"""Tests of what is removed when a run is over, and of all that must never be."""

import json
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from conftest import HOME, Answer, facts
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed

from flows import history, retention
from flows.data_engineer import data_engineer
from flows.data_science import data_science
from flows.results import LocalResult

BEGIN = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEPT = "data/processed", "models", "reports"
MOST_ENDS = 40  # of runs, until what all other tests left is removed


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Sets how many runs are kept."""
    return lambda number: monkeypatch.setenv("KEEP_RUNS", str(number))


def add_run(project: Path, number: int, **other: Any) -> str:
    """Leave what a run leaves, that began `number` minutes after the first; return its name."""
    began = BEGIN + timedelta(minutes=number)
    run = f"{began:%Y-%m-%d_%H-%M-%S}_run-{number}"
    for folder in KEPT:
        (project / folder / run).mkdir(parents=True)
        (project / folder / run / "output.txt").write_text("output", encoding="utf-8")
    told = {
        "run": run,
        "flow": "main-flow",
        "flow_run_id": str(uuid4()),
        "state": "Completed",
        "started": began.isoformat(timespec="seconds"),
    }
    path = project / "data" / "processed" / run / "run.json"
    told |= other
    told |= {"sha256": history.checksum(told)}
    path.write_text(json.dumps(told), encoding="utf-8")
    return run


def finish(**parameters: Any) -> None:
    """Do what is done at the end of a run."""
    run = FlowRun(flow_id=uuid4(), parameters=parameters)
    retention.remove_old_runs(data_engineer, run, Completed())


def left(project: Path, folder: str = "data/processed") -> list[str]:
    return sorted(path.name for path in (project / folder).iterdir())


def test_the_newest_runs_are_kept_and_one_line_says_what_was_removed(
    project: Path, keep: Callable[[object], None], caplog: pytest.LogCaptureFixture
) -> None:
    keep(2)
    runs = [add_run(project, number) for number in range(5)]
    caplog.set_level(logging.INFO)
    finish()
    assert [left(project, folder) for folder in KEPT] == [runs[3:]] * 3
    assert [
        record.getMessage() for record in caplog.records if "emoved" in record.getMessage()
    ] == [
        f"Removed 3 old run(s), up to {runs[2]}: the newest 2 are kept (KEEP_RUNS), and those with "
        "a file named 'keep' in their folder."
    ]
    caplog.clear()
    finish()
    assert "emoved" not in caplog.text


def test_a_part_of_a_run_removes_nothing(project: Path, keep: Callable[[object], None]) -> None:
    keep(1)
    runs = [add_run(project, number) for number in range(3)]
    finish(run=runs[2])
    assert left(project) == runs


@pytest.mark.parametrize("mark", retention.MARKS)
@pytest.mark.parametrize("folder", KEPT)
def test_a_run_that_a_person_marked_is_kept(
    project: Path, keep: Callable[[object], None], folder: str, mark: str
) -> None:
    keep(1)
    runs = [add_run(project, number) for number in range(4)]
    (project / folder / runs[1] / mark).touch()
    finish()
    assert [left(project, one) for one in KEPT] == [[runs[1], runs[3]]] * 3


def test_a_run_that_goes_on_and_what_it_reads_are_kept(
    project: Path, keep: Callable[[object], None]
) -> None:
    keep(1)
    read = add_run(project, 0)
    add_run(project, 1)
    going_on = add_run(project, 2, state="Running", reads=read)
    newest = add_run(project, 3)
    finish()
    assert left(project) == [read, going_on, newest]


def test_data_science_says_what_it_reads_before_it_reads(
    project: Path, prefect_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = data_engineer()
    seen: list[str | None] = []
    read = LocalResult.read

    def spy(self: LocalResult, location: str) -> Any:
        runs = sorted((project / "data" / "processed").glob("[!.]*/run.json"))
        seen.extend(json.loads(path.read_text("utf-8")).get("reads") for path in runs)
        return read(self, location)

    monkeypatch.setattr(LocalResult, "read", spy)
    data_science(checkpoint=split)
    assert split in seen


def test_failures_do_not_push_out_the_last_good_run_of_a_flow(
    project: Path, keep: Callable[[object], None]
) -> None:
    keep(2)
    add_run(project, 0)
    model = add_run(project, 1, flow="main-flow")
    split = add_run(project, 2, flow="data-engineer")
    failed = [add_run(project, number, state="Failed") for number in range(3, 7)]
    finish()
    assert left(project) == [model, split, *failed[2:]]


def test_only_a_folder_that_is_a_run_is_removed(
    project: Path, keep: Callable[[object], None], tmp_path: Path
) -> None:
    keep(1)
    processed = project / "data" / "processed"
    elsewhere = tmp_path / "elsewhere"
    theirs = add_run(elsewhere, 0)
    runs = [add_run(project, number) for number in range(1, 4)]
    copied = processed / "my copy"
    copied.mkdir()
    (processed / runs[0] / "run.json").replace(copied / "run.json")  # now only its name is a run's
    (project / "models" / "2026-11-22_12-00-00_mine").mkdir()
    (processed / "2026-11-22_12-00-00_damaged").mkdir()
    (processed / "2026-11-22_12-00-00_damaged" / "run.json").write_text("{", encoding="utf-8")
    kept = {*left(project), *left(project, "models")} - {runs[1]}
    inside = processed / runs[1] / "link"
    try:
        inside.symlink_to(elsewhere)
        (processed / theirs).symlink_to(elsewhere / "data/processed" / theirs)
    except OSError:
        pytest.skip("Windows lets not everybody make links")
    finish()
    assert {*left(project), *left(project, "models")} == kept | {theirs}
    assert [left(elsewhere, folder) for folder in KEPT] == [[theirs]] * 3
    assert (elsewhere / "models" / theirs / "output.txt").exists()


def test_the_run_itself_is_kept_where_the_clock_was_set_back(
    project: Path, keep: Callable[[object], None]
) -> None:
    keep(1)
    this, newest = add_run(project, 0), add_run(project, 1)
    run = FlowRun(id=facts(project, this)["flow_run_id"], flow_id=uuid4())
    retention.remove_old_runs(data_engineer, run, Completed())
    assert left(project) == [this, newest]


def test_several_runs_that_end_at_once_remove_each_run_once(
    project: Path, keep: Callable[[object], None], caplog: pytest.LogCaptureFixture
) -> None:
    keep(3)
    runs = [add_run(project, number) for number in range(60)]
    caplog.set_level(logging.INFO)
    begin = threading.Barrier(4)
    errors = []

    def work() -> None:
        begin.wait()
        try:
            finish()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [left(project, folder) for folder in KEPT] == [runs[57:]] * 3
    lines = [record.getMessage() for record in caplog.records if "Removed" in record.getMessage()]
    assert sum(int(line.split()[1]) for line in lines) == 57


def test_what_a_killed_run_left_half_removed_goes_with_the_next(
    project: Path, keep: Callable[[object], None]
) -> None:
    keep(1)
    runs = [add_run(project, number) for number in range(2)]
    half = project / "models" / f".{runs[0]}.removed"
    (project / "models" / runs[0]).rename(half)
    (project / "models" / ".mine.removed").mkdir()
    finish()
    assert left(project, "models") == [".mine.removed", runs[1]]


def test_of_the_cache_is_kept_what_one_of_the_newest_runs_used(
    project: Path,
    keep: Callable[[object], None],
    prefect_server: object,
    everywhere: Callable[[str, Any], None],
) -> None:
    keep(1)
    everywhere("DATABASE", project / "none.db")
    interim = project / "data" / "interim"
    data_engineer()
    [entry] = interim.glob("*.parquet")
    data_engineer()  # uses it
    (interim / "notes.txt").write_text("mine", encoding="utf-8")
    unused = interim / "encode_categorical_columns-0123456789abcdef.parquet"
    unused.write_bytes(entry.read_bytes())
    for path in (unused, interim / "notes.txt"):
        os.utime(path, (BEGIN.timestamp(), BEGIN.timestamp()))
    (raw := project / "data" / "raw" / "iris.csv").write_text(
        raw.read_text("utf-8") + "5.1,3.5,1.4,0.2,setosa\n", encoding="utf-8"
    )
    last_use = (BEGIN - timedelta(days=400)).timestamp()
    os.utime(entry, (last_use, last_use))
    data_engineer()
    assert not entry.exists()
    assert not unused.exists()
    assert len(list(interim.glob("*.parquet"))) == len(list(interim.glob(".records/*"))) == 1
    assert (interim / "notes.txt").exists()
    [entry] = interim.glob("*.parquet")
    os.utime(entry, (last_use, last_use))
    data_engineer()  # a use of the cache counts, not only a write
    assert entry.exists()


@pytest.mark.slow
def test_prefects_records_go_with_the_runs(
    project: Path,
    keep: Callable[[object], None],
    prefect_server: object,
    everywhere: Callable[[str, Any], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep("all")
    runs = [data_engineer(test_data_ratio=ratio) for ratio in (0.2, 0.3, 0.4)]
    ids = [facts(project, run)["flow_run_id"] for run in runs]
    later = datetime.now(UTC) + timedelta(seconds=60)
    monkeypatch.setattr(retention, "datetime", _Clock(later))
    (project / "data" / "processed" / runs[1] / "keep").touch()
    keep(1)
    data_engineer()
    assert recorded(ids) == set(ids), "a database elsewhere may be that of other projects too"
    assert len(left(project)) == 2

    everywhere("DATABASE", Path(HOME, "prefect.db"))
    ends = [data_engineer()]
    while recorded(ids) - {ids[1]}:  # fifty at each end, and other tests left many
        assert len(ends) < MOST_ENDS
        ends.append(data_engineer())
    assert recorded(ids) == {ids[1]}
    assert left(project) == [runs[1], ends[-1]]


class _Clock:
    """Reads each time as one that is later than all that has ended: runs are told by seconds."""

    def __init__(self, later: datetime) -> None:
        self._later = later

    def fromisoformat(self, _: str) -> datetime:
        return self._later


def recorded(ids: list[str]) -> set[str]:
    """Return those of the flow runs that Prefect's server knows."""
    these = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[UUID(one) for one in ids]))
    with get_client(sync_client=True) as client:
        return {str(run.id) for run in client.read_flow_runs(flow_run_filter=these)}


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "9" * 10, "\x1b[2J"])
def test_a_bad_number_is_refused_before_anything_runs(
    command: Callable[..., Answer], keep: Callable[[object], None], value: str
) -> None:
    keep(value)
    for arguments in (["run"], ["serve"], ["ui"]):
        answer = command(*arguments)
        assert answer.exit_code == 2
        assert answer.err.startswith("Error: KEEP_RUNS='")
        assert answer.err.endswith("is not allowed: a number from 1 on, or 'all'.\n")
        assert "\x1b" not in answer.err


def test_all_runs_are_kept_where_that_is_asked_for(
    project: Path, keep: Callable[[object], None]
) -> None:
    keep("all")
    runs = [add_run(project, number) for number in range(101)]
    finish()
    assert left(project) == runs
    keep("")
    finish()
    assert left(project) == runs[1:]

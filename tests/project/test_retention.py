"""What is removed when a run ends, and what never is."""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import Answer, facts, wait_until
from flows.data_engineer import data_engineer
from runtime import retention

BEGIN = datetime(2026, 11, 22, 12, tzinfo=UTC)
FOLDERS = "data/processed", "models", "reports"


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Sets how many runs are kept."""
    return lambda number: monkeypatch.setenv("KEEP_RUNS", str(number))


def add_run(project: Path, number: int, **other: Any) -> str:
    """Leave what a run leaves, that began `number` minutes after the first; return its name."""
    began = BEGIN + timedelta(minutes=number)
    run = f"{began:%Y-%m-%d_%H-%M-%S}_run-{number}"
    for folder in FOLDERS:
        (project / folder / run).mkdir(parents=True)
        (project / folder / run / "output.txt").write_text("output", encoding="utf-8")
    known = {
        "run": run,
        "flow": "main-flow",
        "flow_run_id": str(uuid4()),
        "state": "Completed",
        "started": began.isoformat(timespec="microseconds"),
        **other,
    }
    path = project / "data" / "processed" / run / "run.json"
    path.write_text(json.dumps(known), encoding="utf-8")
    return run


@pytest.fixture(autouse=True)
def _logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a run be called without a flow run, which Prefect's logger asks for."""
    monkeypatch.setattr(retention, "get_run_logger", lambda: logging.getLogger(__name__))


def finish(flow_run_id: str = "another") -> None:
    """Do what is done at the end of a run."""
    retention.remove_old_runs(flow_run_id)


def left(project: Path, folder: str = "data/processed") -> list[str]:
    return sorted(path.name for path in (project / folder).iterdir())


def test_the_newest_runs_are_kept_and_one_line_says_what_was_removed(
    project: Path, keep: Callable[[object], None], caplog: pytest.LogCaptureFixture
) -> None:
    keep(2)
    runs = [add_run(project, number) for number in range(5)]
    caplog.set_level(logging.INFO)
    finish()
    assert [left(project, folder) for folder in FOLDERS] == [runs[3:]] * 3
    assert [
        record.getMessage() for record in caplog.records if "emoved" in record.getMessage()
    ] == [
        f"Removed 3 old run(s), up to {runs[2]}: the newest 2 are kept (KEEP_RUNS), and those with "
        "a file named 'keep' in their folder."
    ]
    caplog.clear()
    finish()
    assert "emoved" not in caplog.text


@pytest.mark.parametrize("mark", retention.MARKS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_run_that_a_person_marked_is_kept(
    project: Path, keep: Callable[[object], None], folder: str, mark: str
) -> None:
    keep(1)
    runs = [add_run(project, number) for number in range(4)]
    (project / folder / runs[1] / mark).touch()
    finish()
    assert [left(project, name) for name in FOLDERS] == [[runs[1], runs[3]]] * 3


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
    remaining = {*left(project), *left(project, "models")} - {runs[1]}
    inside = processed / runs[1] / "link"
    try:
        inside.symlink_to(elsewhere)
        (processed / theirs).symlink_to(elsewhere / "data/processed" / theirs)
    except OSError:
        pytest.skip("Windows lets not everybody make links")
    finish()
    assert {*left(project), *left(project, "models")} == remaining | {theirs}
    assert [left(elsewhere, folder) for folder in FOLDERS] == [[theirs]] * 3
    assert (elsewhere / "models" / theirs / "output.txt").exists()


def test_a_long_run_does_not_remove_itself(project: Path, keep: Callable[[object], None]) -> None:
    keep(1)
    long, newest = add_run(project, 0), add_run(project, 1)
    finish(facts(project, long)["flow_run_id"])
    assert left(project) == [long, newest]


def test_several_runs_that_end_at_once_do_not_disturb_each_other(
    project: Path, keep: Callable[[object], None]
) -> None:
    keep(3)
    runs = [add_run(project, number) for number in range(60)]
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
    assert [left(project, folder) for folder in FOLDERS] == [runs[57:]] * 3


def test_a_removal_that_was_interrupted_is_finished_by_the_next_run(
    project: Path, keep: Callable[[object], None]
) -> None:
    keep(1)
    runs = [add_run(project, number) for number in range(2)]
    for path in (project / "models" / runs[0], project / "reports" / runs[0]):
        shutil.rmtree(path)
    (project / "data" / "processed" / runs[0] / "split_data.parquet#1").write_bytes(b"half")
    finish()
    assert [left(project, folder) for folder in FOLDERS] == [runs[1:]] * 3


def test_of_the_cache_is_kept_what_one_of_the_newest_runs_used(
    project: Path, keep: Callable[[object], None], prefect_server: object
) -> None:
    keep(1)
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
    begun = int(time.time())
    wait_until(lambda: int(time.time()) > begun)  # of runs in one second, a name tells no order
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
def test_prefect_forgets_what_ended_more_than_a_month_ago(
    project: Path, program: Callable[..., "subprocess.Popen[str]"]
) -> None:
    own = {"PREFECT_API_URL": None, "PREFECT_HOME": None}
    for _ in range(2):
        _out, err = program("run", "data-engineer", **own).communicate()
        assert "Completed" in err
    old, new = (facts(project, run)["flow_run_id"] for run in left(project))
    with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as database, database:
        ended = (datetime.now(UTC) - timedelta(days=31)).strftime("%Y-%m-%d %H:%M:%S.%f")
        database.execute("UPDATE flow_run SET end_time = ? WHERE id = ?", [ended, old])

    def recorded() -> list[str]:
        with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as database:
            return [row[0] for row in database.execute("SELECT id FROM flow_run")]

    assert set(recorded()) == {old, new}
    ui = program("ui", "--no-browser", PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS="1", **own)
    wait_until(lambda: recorded() == [new])
    assert ui.poll() is None
    assert len(left(project)) == 2, "the folders of runs are another matter"


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

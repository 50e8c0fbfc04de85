"""What goes wrong on a machine: runs killed, files damaged, no room, clocks that change."""

import asyncio
import json
import os
import pickle
import re
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import prefect.runtime
import pytest
from conftest import Answer, facts
from flows.data_engineer import INTERIM, PROCESSED
from flows.data_science import data_science
from flows.main_flow import main_flow
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.exceptions import Pause, TerminationSignal
from prefect.results import ResultStore
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling, Suspended
from runtime import UserError, history, in_run_folder, locks, models, runs
from runtime.deployments import read_schedule
from runtime.discovery import FlowSource
from runtime.errors import CannotWrite
from runtime.server.database import prepare_database
from runtime.server.errors import explain
from runtime.storage import Storage

Command = Callable[..., Answer]
Program = Callable[..., "Popen[str]"]
FOLDERS = ("data/interim", "data/processed", "models", "reports")


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The folder with a copy of all outputs of one run, and the run's name."""
    return {"folder": tmp_path_factory.mktemp("run"), "run": None}


@pytest.fixture
def run(one_run: dict[str, Any], prefect_server: Any, project: Path) -> str:
    """The name of a run of `main-flow`, whose outputs are in the project."""
    if one_run["run"]:
        shutil.copytree(one_run["folder"], project, dirs_exist_ok=True)
    else:
        one_run["run"] = main_flow()
        for folder in FOLDERS:
            shutil.copytree(project / folder, one_run["folder"] / folder)
    return str(one_run["run"])


# ---- killed


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_a_killed_run_is_marked_as_crashed_by_the_next(project: Path, program: Program) -> None:
    own = {"PREFECT_API_URL": None, "PREFECT_HOME": None}
    first = program(**own)
    assert first.stderr is not None
    for line in first.stderr:
        if "Task run 'split_data" in line:
            first.kill()
    first.wait()
    [killed] = [path.name for path in (project / "data" / "processed").iterdir()]
    assert facts(project, killed)["state"] == "Running"

    second = program("run", "data-engineer", **own)
    _out, err = second.communicate()
    assert second.returncode == 0, err
    assert err.startswith(f"The run {killed} was killed: it is marked as Crashed.\n"), err
    assert facts(project, killed)["state"] == "Crashed"
    assert list((project / ".prefect" / "running").iterdir()) == []
    with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as database:
        rows = database.execute("SELECT id, state_name FROM flow_run").fetchall()
    states = dict(rows)
    assert states[facts(project, killed)["flow_run_id"]] == "Crashed"
    assert sorted(states.values()) in (
        ["Completed", "Completed", "Crashed"],  # data-engineer had ended
        ["Completed", "Crashed", "Crashed"],
    )


def as_if_killed(project: Path, run: str, **changes: Any) -> None:
    """Take back what the end of a run's flows wrote into its run.json."""
    path = project / "data" / "processed" / run / "run.json"
    known = facts(project, run) | {"state": "Running", "results": {}} | changes
    path.write_text(json.dumps(known), encoding="utf-8")


def test_latest_is_never_a_run_that_was_killed(project: Path, run: str) -> None:
    newer = main_flow(model_params={"C": 0.5})
    assert models.read_model()[1]["classifier"].C == 0.5
    as_if_killed(project, newer)
    assert PROCESSED.read("latest/split_data").location == f"{run}/split_data"
    assert models.read_model()[1]["classifier"].C == 1
    again = data_science()  # reads `latest`, which is the older
    assert facts(project, again)["reads"] == run
    as_if_killed(project, again)
    as_if_killed(project, run)
    with pytest.raises(UserError, match="There is no 'latest/split_data'"):
        PROCESSED.read("latest/split_data")
    with pytest.raises(UserError, match="There is no model yet"):
        models.read_model()[1]
    # Whoever names the run means it: the file is whole.
    assert PROCESSED.read(f"{newer}/split_data").value


def test_the_output_of_a_flow_counts_when_a_later_flow_was_killed(project: Path, run: str) -> None:
    newer = main_flow(test_data_ratio=0.5)
    results = facts(project, newer)["results"]
    as_if_killed(project, newer, results={"split_data": results["split_data"]})
    assert PROCESSED.read("latest/split_data").location == f"{newer}/split_data"


def test_a_killed_run_is_marked_once(project: Path, run: str) -> None:
    as_if_killed(project, run)
    lock = project / ".prefect" / "running" / facts(project, run)["flow_run_id"]
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert runs.mark_killed_runs() == [run]
    assert facts(project, run)["state"] == "Crashed"
    assert not lock.exists()
    assert runs.mark_killed_runs() == []


def test_a_run_that_goes_on_is_left_alone(project: Path) -> None:
    lock = "from runtime import locks; locks.lock('one'); print('locked', flush=True); input()"
    with Popen(
        [sys.executable, "-c", lock], cwd=project, stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert locks.lock_killed() == []
        process.kill()
    assert locks.lock_killed() == ["one"]
    assert locks.lock_killed() == []  # this process has locked it
    locks.unlock("one")
    assert list((project / ".prefect" / "running").iterdir()) == []


# ---- cancelled, in the dashboard say


@task
def cancel_and_go_on(seconds: float) -> None:
    """Do as somebody at the dashboard does, during the run."""
    flow_run_id = UUID(prefect.runtime.flow_run.root_flow_run_id)
    with get_client(sync_client=True) as client:
        state: Any = Cancelling()
        client.set_flow_run_state(flow_run_id, state)
    time.sleep(seconds)


@flow
@in_run_folder
def long_part(stopped_by: BaseException | None) -> None:
    """End as Prefect's runner ends a run, or not before the test is given up."""
    cancel_and_go_on(0 if stopped_by else 600)
    if stopped_by:
        raise stopped_by


@flow
@in_run_folder
def long_run(stopped_by: BaseException | None = None) -> None:
    """A flow in a flow, as main-flow is."""
    long_part(stopped_by)


def ends(project: Path) -> tuple[list[str], str]:
    """Return how run.json says that the run and its flows ended, and how Prefect does."""
    [run] = [path.name for path in (project / "data" / "processed").iterdir()]
    known = facts(project, run)
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(known["flow_run_id"])).state
    assert state
    return [known["state"], *(each["state"] for each in known["flows"].values())], str(state.name)


@pytest.mark.usefixtures("prefect_server")
def test_a_run_of_main_py_that_is_cancelled_ends(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "main_py_runs_here", lambda: True)
    monkeypatch.setattr(runs, "LOOK_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(FlowSource, "load", lambda _: long_run)
    try:
        answer = command("run", "main-flow")
    finally:
        runs.cancelled_runs.clear()
    assert (answer.exit_code, answer.out) == (1, "")
    assert answer.err.endswith("Error: The run was cancelled.\n")
    assert ends(project) == (["Cancelled", "Cancelled", "Cancelled"], "Cancelled")


@pytest.mark.usefixtures("prefect_server")
def test_a_served_run_that_is_cancelled_says_so(project: Path) -> None:
    """Prefect's runner sends the signal, and marks the run itself."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Prefect sends it once more
    try:
        with pytest.raises(TerminationSignal):
            long_run(TerminationSignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ends(project)[0] == ["Cancelled", "Cancelled", "Cancelled"]


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_is_suspended_has_not_crashed(project: Path) -> None:
    @flow
    @in_run_folder
    def waits_for_a_person() -> None:
        suspended: Any = Suspended()
        with get_client(sync_client=True) as client:
            flow_run_id = UUID(prefect.runtime.flow_run.id)
            client.set_flow_run_state(flow_run_id, suspended, force=True)
        raise Pause(state=suspended)

    with pytest.raises(Pause):
        waits_for_a_person()
    assert ends(project) == (["Paused", "Paused"], "Suspended")


def test_a_run_that_was_cancelled_and_killed_is_not_marked_as_crashed(
    project: Path, run: str, prefect_server: Any
) -> None:
    as_if_killed(project, run)
    flow_run_id = facts(project, run)["flow_run_id"]
    with get_client(sync_client=True) as client:
        state: Any = Cancelled()
        client.set_flow_run_state(UUID(flow_run_id), state, force=True)
    lock = project / ".prefect" / "running" / flow_run_id
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert runs.mark_killed_runs() == []
    assert facts(project, run)["state"] == "Cancelled"


# ---- damaged


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut by one byte": lambda content: content[:-1],
    "zeroed": lambda content: bytes(len(content)),
    "emptied": lambda content: b"",
    "a pickle": lambda content: pickle.dumps({"file": "x"}),
    "of another version": lambda content: b'{"version": 1}',
}


def damage(path: Path, how: str) -> None:
    """Damage a file in one of the ways, or put a folder into its place."""
    if how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(DAMAGES[how](path.read_bytes()))


def in_run(run: str) -> dict[str, str]:
    return {
        "split_data": f"data/processed/{run}/split_data.parquet",
        "record of split_data": f"data/processed/{run}/.records/split_data.json",
        "get_classes": f"data/processed/{run}/get_classes.json",
        "record of get_classes": f"data/processed/{run}/.records/get_classes.json",
    }


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", in_run("run"))
def test_a_damaged_checkpoint_is_refused_by_name(
    name: str, how: str, project: Path, run: str
) -> None:
    file = in_run(run)[name]
    damage(project / file, how)
    with pytest.raises(UserError, match=f"{Path(file).stem}.* is damaged: run its flow again"):
        PROCESSED.read(f"{run}/{name.rsplit(maxsplit=1)[-1]}")


@pytest.mark.parametrize("name", in_run("run"))
def test_a_checkpoint_with_one_bit_flipped_is_refused_or_the_same(
    name: str, project: Path, run: str
) -> None:
    path, location = project / in_run(run)[name], f"{run}/{name.rsplit(maxsplit=1)[-1]}"
    content, value = path.read_bytes(), repr(PROCESSED.read(location).value)
    outcomes = set()
    for at in range(0, len(content), max(1, len(content) // 100)):
        path.write_bytes(flipped(content, at))
        try:
            assert repr(PROCESSED.read(location).value) == value
            outcomes.add("the same")  # what was hit says nothing about the value
        except UserError as error:
            assert re.search(r"damaged|not opened|belongs to another file|There is no", str(error))
            outcomes.add("refused")
    assert outcomes == ({"refused", "the same"} if "record" in name else {"refused"})


@pytest.mark.parametrize("how", [*DAMAGES, "a folder"])
@pytest.mark.parametrize("file", ["", ".records/"])
@pytest.mark.parametrize("task", ["encode_categorical_columns", "draw_report"])
def test_prefect_does_not_see_a_damaged_file_in_the_cache(
    task: str, file: str, how: str, project: Path, run: str
) -> None:
    [path] = (project / "data" / "interim").glob(f"{file}{task}-*")
    [record] = (project / "data" / "interim" / ".records").glob(f"{task}-*.json")
    key = json.loads(record.read_text("utf-8"))["storage_key"]
    records: Any = INTERIM.by_content.key_storage
    store = ResultStore(result_storage=INTERIM, metadata_storage=records)
    assert store.exists(key)
    damage(path, how)
    assert not store.exists(key)


@pytest.mark.parametrize("how", ["zeroed", "a folder"])
def test_a_run_computes_again_what_is_damaged_in_the_cache_or_names_it(
    how: str, project: Path, run: str, command: Command
) -> None:
    [path] = (project / "data" / "interim").glob("*.parquet")
    damage(path, how)
    answer = command("run", "data-engineer")
    if how == "zeroed":
        assert answer.exit_code == 0, answer.err
        assert PROCESSED.read("latest/split_data").location != f"{run}/split_data"
    else:
        assert answer.exit_code == 1
        assert answer.err.startswith(f"Error: data/interim/{path.name} cannot be written: ")


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_model_is_refused_by_name(
    how: str, project: Path, run: str, command: Command
) -> None:
    file = f"models/{run}/train_model.skops"
    damage(project / file, how)
    answer = command("predict", 5.1, 3.5, 1.4, 0.2)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: {file}")
    assert answer.err.count("\n") == 1


def test_a_model_with_one_bit_flipped_is_refused(project: Path, run: str) -> None:
    path = project / "models" / run / "train_model.skops"
    content = path.read_bytes()
    for at in range(0, len(content), len(content) // 100):
        path.write_bytes(flipped(content, at))
        with pytest.raises(UserError, match=r"train_model\.skops.*damaged"):
            models.read_model()[1]


def test_a_run_whose_run_json_is_damaged_is_left_out_by_name(
    project: Path, run: str, command: Command
) -> None:
    newer = main_flow()
    path = project / "data" / "processed" / newer / "run.json"
    content = path.read_bytes().rstrip()  # it would be whole without its last byte, too
    for how in ("truncated", "cut by one byte", "zeroed", "emptied", "a pickle"):
        history.say_once.cache_clear()  # as in a process that has just started
        path.write_bytes(DAMAGES[how](content))
        answer = command("predict", 5.1, 3.5, 1.4, 0.2)
        assert answer.exit_code == 0
        line, model = answer.err.splitlines()
        assert model == f"Model: {run}, trained on data/raw/iris.csv"
        assert line.startswith(f"data/processed/{newer}/run.json cannot be read: "), how
        assert line.endswith(". This run is left out."), how
        assert PROCESSED.read("latest/split_data").location == f"{run}/split_data"
        assert PROCESSED.read(f"{newer}/split_data").value


def test_a_person_may_edit_a_run_json(project: Path, run: str, command: Command) -> None:
    path = project / "data" / "processed" / run / "run.json"
    path.write_text(json.dumps({"note": "the best so far", **facts(project, run)}), "utf-8")
    assert command("run", "data-science").exit_code == 0
    answer = command("predict", 5.1, 3.5, 1.4, 0.2)
    assert answer.err.endswith(", trained on data/raw/iris.csv\n")
    assert answer.err.count("\n") == 1


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a new database of Prefect's."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("PREFECT_HOME", str(folder))
    monkeypatch.delenv("PREFECT_API_URL")
    assert prepare_database(f"sqlite+aiosqlite:///{folder / 'prefect.db'}")
    return folder


@pytest.mark.parametrize(
    "how",
    [
        "a folder",
        *(pytest.param(how, marks=pytest.mark.slow) for how in ("zeroed", "truncated", "a pickle")),
    ],
)
def test_a_damaged_database_is_named_and_not_touched(
    how: str, home: Path, project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = home / "prefect.db"
    damage(database, how)
    before = database.is_dir() or database.read_bytes()
    answer = command("run", "data-engineer")
    assert (answer.exit_code, answer.out) == (1, "")
    sentence = (
        rf"Error: Prefect's database {database} cannot be used: [^\n]+: a new one is created, "
    )
    assert re.fullmatch(sentence + r"and the files of your runs do not need it\.\n", answer.err)
    assert (database.is_dir() or database.read_bytes()) == before
    database.rename(home / "damaged.db")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)  # of the server that did not start
    answer = command("run", "data-engineer")
    assert answer.exit_code == 0, answer.err


def test_a_database_of_a_newer_prefect_is_refused_in_a_sentence(
    home: Path, command: Command
) -> None:
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        database.commit()
    answer = command("run", "data-engineer")
    assert (answer.exit_code, answer.out) == (1, "")
    assert answer.err.startswith("Error: The Prefect server did not start; ")
    assert "Can't locate revision" in (home / "server.log").read_text("utf-8")


# ---- no room, no right


@pytest.mark.parametrize("folder", ["data/interim", "data/processed", "models", "reports"])
def test_what_cannot_be_written_fails_the_run_in_one_sentence(
    folder: str, project: Path, prefect_server: Any, command: Command
) -> None:
    (project / folder).parent.mkdir(exist_ok=True)
    (project / folder).write_bytes(b"a file where a folder should be")
    answer = command("run")
    assert (answer.exit_code, answer.out) == (1, "")
    assert re.fullmatch(rf"Error: {folder}/\S+ cannot be (read|written): [^\n]+\.\n", answer.err)
    if folder != "data/processed":
        [run] = [path.name for path in (project / "data" / "processed").iterdir()]
        assert facts(project, run)["state"] == "Failed"
    (project / folder).unlink()
    assert command("run").exit_code == 0


def test_an_end_that_cannot_be_written_down_fails_the_run(
    project: Path, prefect_server: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Storage.put

    def no_room_at_the_end(self: Storage, key: str, content: bytes) -> None:
        if b'"ended"' in content:
            raise CannotWrite("data/processed/… cannot be written: No space left on device.")
        put(self, key, content)

    monkeypatch.setattr(Storage, "put", no_room_at_the_end)
    answer = command("run", "data-engineer")
    assert (answer.exit_code, answer.out) == (1, "")
    assert answer.err == "Error: data/processed/… cannot be written: No space left on device.\n"


def test_a_home_that_cannot_be_written_to_is_named(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.write_bytes(b"a file where a folder should be")
    monkeypatch.delenv("PREFECT_API_URL")
    monkeypatch.setenv("PREFECT_HOME", str(home))
    answer = command("run")
    assert (answer.exit_code, answer.out) == (1, "")
    assert re.fullmatch(rf"Error: {home} cannot be used: [^\n]+\.\n", answer.err)


# ---- clocks and calendars


def test_a_run_over_new_year_is_named_after_its_begin() -> None:
    begin = datetime(2026, 12, 31, 20, 59, 59, tzinfo=ZoneInfo("America/Sao_Paulo"))
    assert runs._name(begin, "a-run") == "2026-12-31_23-59-59_a-run"
    later = datetime(2026, 12, 31, 21, 0, 0, tzinfo=ZoneInfo("America/Sao_Paulo"))
    assert runs._name(later, "a-run") == "2027-01-01_00-00-00_a-run"


def cron_times(cron: str, timezone: str, start: datetime, number: int) -> list[datetime]:
    """Return when Prefect's server would start the runs of `serve --cron`."""
    given: Any = read_schedule(None, cron, timezone)
    schedule: Any = CronSchedule(cron=given.cron, timezone=given.timezone)
    return asyncio.run(schedule.get_dates(number, start))


# Where clocks go forward or back during the night: before and after, 06:00 stays 06:00.
CHANGES = {
    "America/New_York": [datetime(2027, 3, 14), datetime(2026, 11, 1)],
    "Europe/Lisbon": [datetime(2027, 3, 28), datetime(2026, 10, 25)],
    "America/Sao_Paulo": [datetime(2018, 11, 4), datetime(2019, 2, 17), datetime(2027, 2, 21)],
}


@pytest.mark.parametrize(
    ("timezone", "day"), [(zone, day) for zone, days in CHANGES.items() for day in days]
)
def test_a_daily_schedule_keeps_its_hour_when_clocks_change(timezone: str, day: datetime) -> None:
    zone = ZoneInfo(timezone)
    start = day.replace(tzinfo=zone).astimezone(UTC)
    start = datetime.fromtimestamp(start.timestamp() - 86_400, UTC)
    times = [time.astimezone(zone) for time in cron_times("0 6 * * *", timezone, start, 4)]
    assert [time.hour for time in times] == [6] * 4
    assert all((b.date() - a.date()).days == 1 for a, b in pairwise(times))


@pytest.mark.parametrize(
    ("timezone", "cron", "day"),
    [
        ("America/New_York", "30 2 * * *", datetime(2027, 3, 14)),  # there is no such time
        ("America/New_York", "30 1 * * *", datetime(2026, 11, 1)),  # it comes twice
        ("Europe/Lisbon", "30 1 * * *", datetime(2027, 3, 28)),
        ("Europe/Lisbon", "30 1 * * *", datetime(2026, 10, 25)),
        ("America/Sao_Paulo", "0 0 * * *", datetime(2018, 11, 4)),
        ("America/Sao_Paulo", "30 23 * * *", datetime(2019, 2, 16)),
    ],
)
def test_a_time_that_is_missing_or_comes_twice_is_run_once(
    timezone: str, cron: str, day: datetime
) -> None:
    zone = ZoneInfo(timezone)
    start = datetime.fromtimestamp(day.replace(tzinfo=zone).timestamp() - 100_000, UTC)
    times = cron_times(cron, timezone, start, 5)
    gaps = [(b - a).total_seconds() / 3600 for a, b in pairwise(times)]
    assert set(gaps) <= {23, 24, 25}  # a missing time is run an hour earlier


def test_every_so_many_seconds_does_not_mind_when_clocks_change() -> None:
    given: Any = read_schedule(3600, None, None)
    assert given.timezone is None  # with America/New_York, Prefect would leave out an hour
    anchor = datetime(2026, 11, 1, 3, tzinfo=UTC)  # before New York's hour that comes twice
    begin: Any = anchor
    schedule: Any = IntervalSchedule(interval=given.interval, anchor_date=begin)
    times = asyncio.run(schedule.get_dates(6, anchor))
    assert {(b - a).total_seconds() for a, b in pairwise(times)} == {3600}


# ---- servers


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/api/flows/", "http://127.0.0.1:9/api cannot be reached: "),
        ("https://example.org/iris.csv", None),  # what a task asks for is no server of Prefect's
    ],
)
def test_only_prefects_server_is_blamed_for_what_prefects_server_does(
    url: str, words: str | None
) -> None:
    error = httpx.ConnectError("Connection refused", request=httpx.Request("GET", url))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        explained = explain(error)
    assert str(explained).startswith(words) if words else explained is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_file_that_cannot_be_created_whole_is_not_there_at_all(project: Path) -> None:
    import resource  # noqa: PLC0415  (not on Windows)

    files = Storage("data/processed")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(CannotWrite, match=r"data/processed/a/run\.json cannot be written: "):
            files.create("a/run.json", b"x" * 5_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files.files() == {}
    assert files.create("a/run.json", b"x")
    assert not files.create("a/run.json", b"y")
    assert files.get("a/run.json") == b"x"

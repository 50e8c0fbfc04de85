"""`python main.py runs`: the table of all runs, and the differences of two."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import obstore
import pytest
from conftest import Answer, facts
from flows.data_engineer import data_engineer
from flows.tune import tune
from runtime import history
from runtime.retention import remove_old_runs

Command = Callable[..., Answer]
BEGAN = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _once() -> None:
    history.say_once.cache_clear()  # as in a process that has just started


def add(project: Path, number: int, accuracy: float | None = None, **changes: Any) -> str:
    """Leave the run.json of a run that began `number` minutes after the first; return its name."""
    began = BEGAN + timedelta(minutes=number)
    run = f"{began:%Y-%m-%d_%H-%M-%S}_run-{number}"
    flow = changes.get("flow", "main-flow")
    known = {
        "run": run,
        "flow": flow,
        "flow_run_id": str(number),
        "state": "Completed",
        "started": began.isoformat(timespec="microseconds"),
        "ended": (began + timedelta(seconds=4)).isoformat(timespec="microseconds"),
        "versions": {"pandas": "3.0.0"},
        "raw_file": {"path": "data/raw/iris.csv", "sha256": "aa"},
        "flows": {flow: {"parameters": {"seed": 42, "model_params": None}}},
        **({} if accuracy is None else {"metrics": {"accuracy": accuracy, "macro_f1": 0.5}}),
        **changes,
    }
    path = project / "data" / "processed" / run / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(known), encoding="utf-8")
    return run


def given(**parameters: Any) -> dict[str, Any]:
    return {"main-flow": {"parameters": parameters}}


def table(answer: Answer) -> list[dict[str, str]]:
    """Return the rows of a table that was printed as CSV."""
    assert (answer.exit_code, answer.err) == (0, "")
    return list(csv.DictReader(io.StringIO(answer.out)))


def test_the_best_run_and_its_parameters_come_first(project: Path, command: Command) -> None:
    accuracies = [0.9, 0.5, 0.95, 0.7, 1.0, 0.6]
    for number, accuracy in enumerate(accuracies):
        params = {"seed": 42, "test_data_ratio": 0.2, "model_params": {"C": 10.0**number}}
        add(project, number, accuracy, flows=given(**params))
    split = add(project, 6, flow="data-engineer")
    answer = command("runs")
    assert (answer.exit_code, answer.err) == (0, "")
    header, newest, *others = answer.out.splitlines()
    first = ["run", "flow", "started", "seconds", "state", "accuracy", "model_params.C"]
    assert header.split() == [*first, "raw_file", "macro_f1"]  # no seed: it is the same in all
    assert newest.startswith(split)
    assert [line.split("  ")[0][-1] for line in others] == ["5", "4", "3", "2", "1", "0"]

    rows = table(command("runs", "--sort", "accuracy", "--csv"))
    found = [row["accuracy"] for row in rows]
    assert found == ["1.0", "0.95", "0.9", "0.7", "0.6", "0.5", ""]
    assert rows[0]["model_params.C"] == "10000.0"
    assert (rows[0]["seconds"], rows[0]["raw_file"]) == ("4.0", "data/raw/iris.csv")
    rows = table(command("runs", "--sort", "accuracy", "--csv", "--last", 3))
    assert [row["accuracy"] for row in rows] == ["1.0", "0.6", ""]
    rows = table(command("runs", "--csv", "--flow", "main-flow", "--last", 1))
    assert [row["accuracy"] for row in rows] == ["0.6"]
    rows = table(command("runs", "--csv", "--sort", "model_params.C", "--flow", "main-flow"))
    assert [row["accuracy"] for row in rows] == [str(value) for value in reversed(accuracies)]


def test_the_page_is_one_file_and_shows_every_text_as_it_is(
    project: Path, command: Command
) -> None:
    text = "<script>alert(1)</script>&amp;\x1b[31m"
    add(project, 0, 0.5, raw_file={"path": text}, flows=given(**{"<b>": 1}))
    add(project, 1, 0.5, flows=given(**{"<b>": 2}))
    assert command("runs", "--html").out == "reports/runs.html\n"
    page = (project / "reports" / "runs.html").read_text("utf-8")
    assert "http" not in page
    shown = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            shown.append(data)

    Reader().feed(page)
    assert text.replace("\x1b", "\ufffd") in shown
    assert {"accuracy", "<b>"} <= set(shown)


def test_the_differences_of_two_runs(project: Path, command: Command) -> None:
    read = add(project, 0, flow="data-engineer", raw_file={"path": "other.csv", "sha256": "bb"})
    code = {"commit": "c0ffee", "dirty": False}
    one = add(project, 1, 0.93331, code=code, flows=given(seed=1, model_params={"C": 0.5}))
    changes: dict[str, Any] = {"versions": {"pandas": "3.1.0"}, "code": {**code, "dirty": True}}
    del_raw = {"raw_file": {"path": "other.csv", "sha256": "bb"}}
    other = add(project, 2, 0.93332, reads=read, flows=given(seed=2), **changes, **del_raw)
    answer = command("runs", "run-1", other)
    assert (answer.exit_code, answer.err) == (0, "")
    header, *lines = answer.out.splitlines()
    assert header.split() == [one, other]
    assert {line.split()[0]: line.split()[1:] for line in lines} == {
        "parameters.seed": ["1", "2"],
        "parameters.model_params.C": ["0.5"],
        "reads": [read],
        "raw_file.path": ["data/raw/iris.csv", "other.csv"],
        "raw_file.sha256": ["aa", "bb"],
        "versions.pandas": ["3.0.0", "3.1.0"],
        "metrics.accuracy": ["0.93331", "0.93332"],
        "code.dirty": ["false", "true"],
    }
    assert command("runs", one, one).out.startswith("They differ in nothing")


def test_the_newest_run_may_be_damaged(project: Path, command: Command) -> None:
    whole, damaged = add(project, 0), add(project, 1)
    (project / "data" / "processed" / damaged / "run.json").write_text("{", "utf-8")
    answer = command("runs", "--csv", "--last", 1)
    assert [line.partition(",")[0] for line in answer.out.splitlines()] == ["run", whole]
    assert answer.err.endswith("This run is left out.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--sort", "beauty"), "--sort beauty: no run shown has that, but: accuracy, flow, "),
        (("--flow", "x"), "There is no run of 'x', but of: main-flow."),
        (("--csv", "--html"), "Give --csv or --html, not both."),
        (("run-0",), "Give the names of two runs to compare, or none for the table of all."),
        (("run-0", "run-9"), "There is no run 'run-9' in data/processed: check its name."),
        (("run-0", "2026"), "2 runs in data/processed have '2026' in their name: give more of it."),
        (("run-0", "run-1", "--csv"), "--sort, --flow, --last, --csv and --html are for the table"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, project: Path, command: Command
) -> None:
    add(project, 0, 0.5)
    add(project, 1, 0.5)
    answer = command("runs", *arguments)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: {sentence}")
    assert answer.err.count("\n") == 1
    assert not (project / "reports").exists()


def test_without_a_run_one_sentence_says_so(project: Path, command: Command) -> None:
    answer = command("runs")
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == "Error: There is no run to show: `python main.py` starts one.\n"
    assert command("runs", "--last", 0).exit_code == 2


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"started": 1}', '{"metrics": "good"}', '{"flow": {}}', '{"flows": 1}']
)
def test_a_run_json_that_cannot_be_read_is_named_once_and_left_out(
    content: str, project: Path, command: Command
) -> None:
    good, bad = add(project, 0, 0.5), add(project, 1, 0.5)
    (project / "data" / "processed" / bad / "run.json").write_text(content, encoding="utf-8")
    answer = command("runs")
    assert answer.exit_code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == ["run", good]
    assert answer.err.startswith(f"data/processed/{bad}/run.json ")
    assert answer.err.endswith(" This run is left out.\n")
    assert answer.err.count("\n") == 1
    assert command("runs", good, bad).err.count("\n") <= 1


def test_the_table_needs_neither_prefect_nor_pandas(project: Path) -> None:
    add(project, 0, 0.5)
    code = (
        "import sys; from runtime.cli import main; main(['runs']); "
        "print({'prefect', 'pandas'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "set()"


def git(project: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout


def test_a_run_notes_the_commit_and_whether_files_differ(
    project: Path, prefect_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "code" not in facts(project, data_engineer())  # the project is not in git
    (project / ".gitignore").write_text("/.prefect/\n/data/interim/\n/data/processed/\n", "utf-8")
    git(project, "init", "-q")
    assert "code" not in facts(project, data_engineer())  # nothing is committed
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    commit = git(project, "rev-parse", "HEAD").strip()
    assert facts(project, data_engineer())["code"] == {"commit": commit, "dirty": False}
    (project / "params.json").write_text("{}", encoding="utf-8")
    assert facts(project, data_engineer())["code"] == {"commit": commit, "dirty": True}
    monkeypatch.setenv("PATH", "")  # there is no git
    assert "code" not in facts(project, data_engineer())


def test_the_best_parameters_of_a_search_are_in_its_row_run_json_and_report(
    project: Path, prefect_server: object, command: Command
) -> None:
    data_engineer()
    run = tune(candidates=2, folds=2)
    best = facts(project, run)["model_params"]
    [row] = table(command("runs", "--csv", "--flow", "tune"))
    assert float(row["model_params.C"]) == best["C"]
    page = (project / "reports" / run / "report.html").read_text("utf-8")
    assert f"Parameters of the model: C = {best['C']}" in page


def count_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by a name for each file that is read, or list of files."""
    requests: list[str] = []
    for name in ("get", "list", "list_with_delimiter"):
        real = getattr(obstore, name)

        def asked(*args: Any, name: str = name, real: Any = real, **options: Any) -> Any:
            requests.append(name)
            return real(*args, **options)

        monkeypatch.setattr(obstore, name, asked)
    return requests


def test_a_run_asks_for_no_more_the_more_runs_there_are(
    project: Path, prefect_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    for number in (20, 120):
        for index in range(number):
            add(project, len(counts) * 1_000 + index, 0.5, flow=("tune", "main-flow")[index % 2])
        monkeypatch.setenv("KEEP_RUNS", "all")
        data_engineer()
        requests = count_requests(monkeypatch)
        kept = sum(1 for _ in (project / "data" / "processed").iterdir()) - 1
        monkeypatch.setenv("KEEP_RUNS", str(kept))
        data_engineer()
        counts.append(len(requests))
        monkeypatch.undo()
        monkeypatch.setattr("runtime.settings.ROOT", project)
        monkeypatch.chdir(project)
    assert counts[1] <= counts[0] + 8


def test_a_split_is_kept_while_a_run_reads_it_that_is_not_among_the_newest(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP_RUNS", "20")
    split = add(project, 0, flow="data-engineer")
    reader = add(project, 1, flow="tune", state="Running", reads=split)
    readers = project / "data" / "processed" / split / history.READERS
    readers.mkdir()
    (readers / reader).touch()
    for number in range(2, 21):
        add(project, number, flow="data-engineer")
    remove_old_runs("another")
    assert (project / "data" / "processed" / split).exists()

"""Each change on the page docs/changing.md takes one place.

Its code is applied to a new project, `python main.py` shows the result, and the project's own tests
stay green.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import PROJECT
from sklearn.datasets import load_wine

PAGE = (PROJECT / "docs" / "changing.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
Main = Callable[..., str]


@pytest.fixture
def changed(project: Path) -> Path:
    """A project with its own tests, to be changed."""
    shutil.copytree(PROJECT / "tests", project / "tests", ignore=shutil.ignore_patterns("__py*"))
    return project


@pytest.fixture
def python(changed: Path) -> Main:
    """Runs Python in the changed project, and returns what it printed."""

    def run(*arguments: str, exit_code: int = 0) -> str:
        own = ("PREFECT_", "PYTEST_")
        environment = {name: os.environ[name] for name in os.environ if not name.startswith(own)}
        finished = subprocess.run(
            [sys.executable, *arguments],
            cwd=changed,
            env={**environment, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert finished.returncode == exit_code, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    return run


def apply(block: str, project: Path) -> None:
    """Apply a block of the page: parts of files with lines that go (-) and lines that come (+)."""
    for name, part in re.findall(r"^--- (\S+)\n(.*?)(?=^--- |\Z)", block, re.MULTILINE | re.DOTALL):
        file = project / name
        text = file.read_text(encoding="utf-8")
        for hunk in part.split("@@\n"):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
            after = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
            assert text.count(before) == 1, f"{name} has no, or more than one:\n{before}"
            text = text.replace(before, after)
        file.write_text(text, encoding="utf-8")


def blocks(title: str, kind: str = "diff") -> list[str]:
    found = [code for language, code in BLOCK.findall(SECTIONS[title]) if language == kind]
    assert found, f"no {kind} in {title!r}"
    return found


def run_json(project: Path) -> dict[str, object]:
    """Return what the run.json of the newest run says."""
    newest = max((project / "data" / "processed").glob("*/run.json"))
    facts: dict[str, object] = json.loads(newest.read_text(encoding="utf-8"))
    return facts


# A run, a prediction and a search, in one process: what is slow is imported once.
THREE_COMMANDS = """
from runtime.cli import main
for command in ("run", "predict 5.1 3.5 1.4 0.2", "run tune --param candidates=2"):
    assert main(command.split()) == 0
"""


def own_tests(python: Main) -> None:
    printed = python("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in printed
    assert "Error logging to API" not in printed  # what Prefect still sends arrives


CHANGES = [
    "A task of your own",
    "Another model",
    "A feature that is computed from others",
    "Another metric and picture",
    "Data from elsewhere",
]


@pytest.mark.slow
def test_the_projects_own_tests_stay_green_with_all_changes(changed: Path, python: Main) -> None:
    for title in CHANGES:
        apply(blocks(title)[0], changed)
    own_tests(python)


@pytest.mark.torture
@pytest.mark.parametrize("title", CHANGES)
def test_the_projects_own_tests_stay_green(title: str, changed: Path, python: Main) -> None:
    apply(blocks(title)[0], changed)
    own_tests(python)


def test_a_task_with_a_checkpoint(changed: Path, python: Main) -> None:
    apply(blocks("A task of your own")[0], changed)
    python("main.py")
    [checkpoint] = changed.glob("data/processed/*/drop_duplicates.parquet")
    assert len(pd.read_parquet(checkpoint)) == len(
        pd.read_csv(changed / "data/raw/iris.csv").drop_duplicates()
    )


@pytest.mark.slow
def test_another_model_and_what_tune_searches(changed: Path, python: Main) -> None:
    apply(blocks("Another model")[0], changed)
    python("main.py", "--param", "model_params.n_estimators=50")
    answer = python("main.py", "predict", "5.1", "3.5", "1.4", "0.2")
    assert re.match(r"setosa \(probability \d\.\d+\)\n", answer)
    found = python("main.py", "run", "tune", "--param", "candidates=3")
    assert "3/3 {'n_estimators': " in found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "model", "searched"),
    [
        ("ensemble", "HistGradientBoostingClassifier(max_iter=20)", '"max_iter": [5, 10]'),
        ("svm", "SVC()", '"C": loguniform(0.1, 10)'),
        ("neighbors", "KNeighborsClassifier()", '"weights": ["uniform", "distance"]'),
    ],
)
def test_other_models_with_one_searched_parameter(
    package: str, model: str, searched: str, changed: Path, python: Main
) -> None:
    file = changed / "ml" / "model.py"
    text = file.read_text(encoding="utf-8")
    name = model.partition("(")[0]
    text = text.replace(
        "from sklearn.linear_model import LogisticRegression",
        f"from sklearn.{package} import {name}",
    )
    text = text.replace("LogisticRegression(C=1.0, max_iter=200)", model)
    text = re.sub(
        r'    "C": loguniform.*?"median"\],\n', f"    {searched},\n", text, flags=re.DOTALL
    )
    file.write_text(text, encoding="utf-8")
    answer = python("-c", THREE_COMMANDS)
    assert "Accuracy " in answer
    predicted = "setosa$" if name == "SVC" else r"setosa \(probability"
    assert re.search(f"^{predicted}", answer, re.MULTILINE)
    assert "2/2 " in answer
    assert len(list(changed.glob("reports/*/search.png"))) == 1


@pytest.mark.slow
def test_a_feature_that_predict_does_not_see_turns_a_test_red(changed: Path, python: Main) -> None:
    file = changed / "flows" / "data_engineer.py"
    text = file.read_text(encoding="utf-8")
    wrong = "    encoded.iloc[:, :4] /= encoded.iloc[:, :4].max()\n    classes = get_classes"
    file.write_text(text.replace("    classes = get_classes", wrong), encoding="utf-8")
    printed = python("-m", "pytest", "-q", "tests/test_predict.py", exit_code=1)
    assert "test_raw_rows_of_the_test_set_are_predicted_as_the_flow_predicts_them" in printed


@pytest.mark.slow
def test_a_derived_feature_another_metric_and_picture(changed: Path, python: Main) -> None:
    apply(blocks("A feature that is computed from others")[0], changed)
    apply(blocks("Another metric and picture")[0], changed)
    printed = python("main.py")
    row = ("5.1", "3.5", "1.4", "0.2")
    assert python("main.py", "predict", *row).startswith("setosa (probability ")
    assert re.search(r"^Metrics .*roc_auc 0\.9\d+, log_loss 0\.\d+$", printed, re.MULTILINE)
    metrics = run_json(changed)["metrics"]
    assert isinstance(metrics, dict) and 0 < metrics["log_loss"] < 1
    [page] = changed.glob("reports/*/report.html")
    assert f"{metrics['log_loss']:.4f}" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_second_data_set(changed: Path, python: Main) -> None:
    data = load_wine(as_frame=True)
    table = data.frame.assign(cultivar=data.target_names[data.target]).drop(columns="target")
    table.to_csv(changed / "data" / "raw" / "wine.csv", index=False)
    [code] = blocks("A second data set", "python")
    comment, _, code = code.partition("\n")
    (changed / comment.removeprefix("# ")).write_text(code, encoding="utf-8")
    assert "Accuracy " in python("main.py", "run", "wine", "--param", "seed=7")
    assert "2/2 " in python("main.py", "run", "tune-wine", "--param", "candidates=2")
    assert "wine has no parameter 'sed'" in python(
        "main.py", "run", "wine", "--param", "sed=7", exit_code=2
    )
    assert "data-engineer-0" in python("main.py", "visualize", "wine")


@pytest.mark.slow
def test_rows_from_parquet_and_from_a_database(changed: Path, python: Main) -> None:
    parquet, database = blocks("Data from elsewhere")
    file = changed / "flows" / "data_engineer.py"
    original = file.read_text(encoding="utf-8")
    data = pd.read_csv(changed / "data/raw/iris.csv")
    data.to_parquet(changed / "data/raw/iris.parquet")
    with sqlite3.connect(changed / "data/raw/iris.db") as connection:
        data.to_sql("iris", connection, index=False)
    for block, name in ((parquet, "iris.parquet"), (database, "iris.db")):
        file.write_text(original, encoding="utf-8")
        apply(block, changed)
        printed = python("main.py", "--param", f"raw_path=data/raw/{name}")
        assert "Accuracy     93.33%" in printed
        raw_file = run_json(changed)["raw_file"]
        assert isinstance(raw_file, dict) and raw_file["path"] == f"data/raw/{name}"


@pytest.mark.slow
def test_without_the_example_the_rest_runs_and_passes_its_tests(
    changed: Path, python: Main
) -> None:
    removal, start = blocks("Without the example", "bash")
    for name in re.findall(r"[\w/]+\.\w+", removal):
        (changed / name).unlink()
    assert "There is no flow 'main-flow'" in python("main.py", exit_code=2)
    described = (changed / "prefect.yaml").read_text(encoding="utf-8")
    gone = r"  - name: .*\n    entrypoint: flows/(?!main_flow)(?:    .*\n|.*\n)*?(?=\n|\Z)"
    described = re.sub(gone, "", described).replace("*work_pool\n", "{name: *project}\n")
    (changed / "prefect.yaml").write_text(described, encoding="utf-8")
    for line in start.splitlines():
        printed = python(*line.split()[1:])
    assert "Twice 21 is 42" in printed
    assert re.search("^Checkpoints  data/processed/", printed, re.MULTILINE)
    assert "double-0" in python("main.py", "visualize")
    assert run_json(changed)["state"] == "Completed"
    own_tests(python)
    python("-m", "ruff", "check", ".")

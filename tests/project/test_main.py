"""`python main.py`: parameters, pictures, predictions, the server, and the whole program."""

import inspect
import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import typing
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import prefect
import pytest
import yaml
from conftest import HOME, NAME, PROJECT, SERVER, Answer, ends, facts, wait_until
from flows.data_engineer import data_engineer
from ml.data import BadData
from ml.model import new_model, train
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from runtime import console, deployments, doctor, models, server
from runtime.discovery import find_flows
from runtime.errors import UserError
from runtime.parameters import read_parameters
from runtime.server import database as database_module
from runtime.server.database import TABLES, prepare_database
from runtime.server.process import listen
from sklearn.linear_model import RidgeClassifier

FLOWS = find_flows()
Command = Callable[..., Answer]
Program = Callable[..., "subprocess.Popen[str]"]


# ---- rows 4 and 5: parameters


@pytest.mark.parametrize("name", FLOWS)
def test_each_parameter_is_explained_in_the_dashboards_form(name: str) -> None:
    for parameter, schema in FLOWS[name].load().parameters.properties.items():
        assert schema.get("description", "").endswith("."), parameter


@pytest.mark.parametrize("name", FLOWS)
def test_row_04_types_and_defaults_are_known_without_importing_the_flow(name: str) -> None:
    function = FLOWS[name].load().fn
    types = typing.get_type_hints(function, include_extras=True)
    in_flow = inspect.signature(function).parameters
    assert FLOWS[name].parameters() == {key: (types[key], in_flow[key].default) for key in in_flow}


def test_row_04_the_defaults_are_those_of_the_article() -> None:
    parameters = FLOWS["main-flow"].parameters()
    assert (parameters["test_data_ratio"][1], parameters["target_col"][1]) == (0.2, "species")


NOT_ALLOWED = {
    "test_data_ratio=1.5": "test_data_ratio='1.5' is not allowed, it should be less than 1",
    "test_data_ratio=abc": "test_data_ratio='abc' is not allowed, it should be a valid number",
    "test_data_ratio=0": "test_data_ratio='0' is not allowed, it should be greater than 0",
    "test_data_ratio=nan": "test_data_ratio='nan' is not allowed",
    "test_data_ratio=": "test_data_ratio='' is not allowed",
    "test_data_ratio.a=1": "test_data_ratio={'a': 1} is not allowed, it should be a valid number",
    "model_params=5": "model_params='5' is not allowed, it should be a valid dictionary",
    "seed=2.5": "seed='2.5' is not allowed",
    "seed=-1": "seed='-1' is not allowed",
    "target_col=": "target_col='' is not allowed",
    "deployed=maybe": "deployed='maybe' is not allowed",
    "test_data_ratio": "--param 'test_data_ratio' has no '=': write it as name=value",
    "ratio=0.3": "main-flow has no parameter 'ratio'; it has raw_path, target_col, test_data_ratio",
}


@pytest.mark.parametrize("param", NOT_ALLOWED)
def test_row_04_a_bad_value_gives_one_sentence_and_exit_code_2(
    param: str, command: Command, project: Path
) -> None:
    answer = command("run", "--param", param)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: {NOT_ALLOWED[param]}")
    assert answer.err.count("\n") == 1
    assert not (project / "data" / "processed").exists()


def test_row_05_command_line_beats_file_beats_default(project: Path) -> None:
    file = project / "mine.json"
    file.write_text('{"test_data_ratio": 0.3, "seed": 7, "target_col": 2}', "utf-8")
    params = ["test_data_ratio = 0.4", "raw_path=a=b.csv"]
    assert read_parameters(FLOWS["data-engineer"], params, file) == {
        "test_data_ratio": 0.4,
        "seed": 7,
        "target_col": "2",
        "raw_path": "a=b.csv",
    }
    main_flow = FLOWS["main-flow"]
    assert read_parameters(main_flow, [], None) == {}
    assert read_parameters(main_flow, [], project / "params.json") == {"test_data_ratio": 0.3}


MODEL_PARAMS = {
    "model_params.C=0.5": {"C": 0.5, "max_iter": 50},  # the file's other entry stays
    'model_params={"C": 0.5}': {"C": 0.5},
    "model_params.class_weight=balanced": {"C": 2, "max_iter": 50, "class_weight": "balanced"},
    "model_params.class_weight=null": {"C": 2, "max_iter": 50, "class_weight": None},
    'model_params.class_weight={"setosa": 2}': {
        "C": 2,
        "max_iter": 50,
        "class_weight": {"setosa": 2},
    },
}


@pytest.mark.parametrize("param", MODEL_PARAMS)
def test_row_05_an_entry_of_a_parameter_is_given_alone_or_all_as_json(
    param: str, project: Path
) -> None:
    file = project / "mine.json"
    file.write_text('{"model_params": {"C": 2, "max_iter": 50}}', "utf-8")
    parameters = read_parameters(FLOWS["main-flow"], [param], file)
    assert parameters == {"model_params": MODEL_PARAMS[param]}


BAD_FILES = {
    "none": (None, "cannot be read: No such file"),
    "no JSON": (b"test_data_ratio: 0.3", "is not valid JSON"),
    "no object": (b"[0.3]", "must hold one JSON object"),
    "no text": (b"\xff\xfe\x00", "is not valid JSON"),
    "unknown name": (b'{"ratio": 0.3}', "data-science has no parameter 'ratio'; it has checkpoint"),
    "bad value": (b'{"model_params": 5}', "model_params=5 is not allowed, it should be"),
    "a path as checkpoint": (b'{"checkpoint": "../raw"}', "checkpoint='../raw' is not allowed"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_row_05_a_bad_parameter_file_gives_one_sentence_and_exit_code_2(
    kind: str, command: Command, project: Path
) -> None:
    content, problem = BAD_FILES[kind]
    if content is not None:
        (project / "mine.json").write_bytes(content)
    answer = command("run", "data-science", "--param-file", project / "mine.json")
    assert (answer.exit_code, answer.out) == (2, "")
    assert problem in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["run", "no-such-flow"], ["no-such-command"], ["--nothing"]])
def test_a_mistyped_command_is_exit_code_2(arguments: list[str], command: Command) -> None:
    answer = command(*arguments)
    assert answer.exit_code == 2
    assert arguments[-1].strip("-") in answer.out + answer.err
    assert "Traceback" not in answer.out + answer.err


@pytest.mark.parametrize("name", ["", "run", "serve", "ui", "visualize", "predict", "doctor"])
def test_every_command_explains_itself(name: str, command: Command) -> None:
    answer = command(*name.split(), "--help")
    assert answer.exit_code == 0
    assert f"Usage: main.py {name.upper()}".strip().lower() in answer.out.lower()


BAD_MODEL_PARAMS: dict[str, tuple[Any, str]] = {
    "C": (-1, "The 'C' parameter of LogisticRegression must be a float in the range (0.0, inf]."),
    "tol": (float("nan"), "The 'tol' parameter of LogisticRegression must be a float"),
    "max_iter": ("many", "The 'max_iter' parameter of LogisticRegression must be an int"),
    "colour": ("red", "Invalid parameter 'colour' for estimator LogisticRegression"),
    "colour__tone": ("red", "Invalid parameter 'colour' for estimator Pipeline"),
    "classifier__C__x": (1, "has no attribute 'set_params'"),
    "columns__numbers": (5, "All estimators should implement fit and transform"),
}


@pytest.mark.parametrize("name", BAD_MODEL_PARAMS)
def test_row_04_a_parameter_that_the_model_refuses_is_bad_input(name: str) -> None:
    iris = pd.read_csv(PROJECT / "data" / "raw" / "iris.csv")
    value, problem = BAD_MODEL_PARAMS[name]
    with pytest.raises(BadData) as caught:
        train(iris.drop(columns="species"), iris["species"], {name: value})
    title, line = str(caught.value).splitlines()
    assert title == "model_params cannot be used:"
    assert problem in line


@pytest.mark.usefixtures("prefect_server")
def test_row_04_a_parameter_that_the_model_refuses_is_exit_code_2(command: Command) -> None:
    answer = command("run", "--param", "model_params.C=-1")
    assert (answer.exit_code, answer.out) == (2, "")
    title, problem = answer.err.partition("Error: ")[2].splitlines()
    assert title == "model_params cannot be used:"
    assert problem.startswith("  - The 'C' parameter of LogisticRegression must be a float")


# ---- row 3: graphs

EDGES = {
    "data-engineer": [
        ("load_data", "check_data"),
        ("check_data", "encode_categorical_columns"),
        ("check_data", "get_classes"),
        ("encode_categorical_columns", "split_data"),
        ("get_classes", "split_data"),
    ],
    "data-science": [
        ("read_split", "train_model"),
        ("train_model", "predict"),
        ("read_split", "predict"),
        ("predict", "report_accuracy"),
        ("read_split", "report_accuracy"),
        ("train_model", "get_schema"),
        ("train_model", "draw_report"),
        ("read_split", "draw_report"),
        ("train_model", "write_report"),
        ("predict", "write_report"),
        ("read_split", "write_report"),
        ("draw_report", "write_report"),
    ],
    "main-flow": [("data-engineer", "data-science")],
}


def read_mermaid(text: str) -> list[tuple[str, str]]:
    """Return the edges of a graph in Mermaid, by the labels of its nodes."""
    nodes = re.findall(r'^\s*(\w+)\W*[\[(]+"?([^"\])]+)"?[\])]+', text, flags=re.MULTILINE)
    labels = {node: label.removesuffix("-0") for node, label in nodes}
    edges = re.findall(r"^\s*(\w+)\s*-->\s*(\w+)", text, flags=re.MULTILINE)
    return [(labels[one], labels[other]) for one, other in edges]


@pytest.mark.parametrize("name", EDGES)
def test_row_03_the_graph_of_a_flow_is_drawn_without_running_it(
    name: str, command: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # nor with Graphviz
    answer = command("visualize", name)
    assert (answer.exit_code, answer.err) == (0, "")
    assert sorted(read_mermaid(answer.out)) == sorted(EDGES[name])
    mermaid = project / "reports" / "graphs" / f"{name}.mmd"
    assert mermaid.read_text("utf-8").strip() in answer.out
    assert "For SVG and PNG too, install Graphviz" in answer.out
    assert list(mermaid.parent.iterdir()) == [mermaid]
    assert not (project / "data" / "processed").exists()


def test_row_03_a_flow_that_prefect_cannot_draw_is_named(command: Command, project: Path) -> None:
    answer = command("visualize", "tune")
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err.startswith("Error: Prefect cannot draw the flow tune: ")
    assert answer.err.count("\n") == 1
    assert not (project / "reports").exists()


def test_row_03_graphviz_draws_svg_and_png(command: Command, project: Path) -> None:
    if not shutil.which("dot"):
        pytest.skip("Graphviz is not installed")
    answer = command("visualize", "data-engineer")
    assert answer.exit_code == 0
    assert "install Graphviz" not in answer.out
    folder = project / "reports" / "graphs"
    svg = (folder / "data-engineer.svg").read_text("utf-8")
    assert "<svg" in svg
    assert all(name in svg for edge in EDGES["data-engineer"] for name in edge)
    assert (folder / "data-engineer.png").read_bytes().startswith(b"\x89PNG")


def test_row_03_a_graphviz_that_cannot_draw_leaves_the_text(
    command: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.name == "nt":
        pytest.skip("a program is a script here")
    dot = project / "bin" / "dot"
    dot.parent.mkdir()
    dot.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(dot.parent))
    answer = command("visualize")
    assert answer.exit_code == 0
    assert read_mermaid(answer.out) == EDGES["main-flow"]
    assert "Graphviz is installed but cannot draw: try `dot -c`" in answer.out
    assert [path.suffix for path in (project / "reports" / "graphs").iterdir()] == [".mmd"]
    with pytest.raises(doctor.Note, match="cannot draw: try `dot -c`"):
        doctor.graphviz()


# ---- predictions


@pytest.fixture
def iris_project(project: Path) -> Path:
    """A project with the model of an old run, on two features, and of a new one, on Iris."""
    iris = pd.read_csv(project / "data" / "raw" / "iris.csv")
    for run, x in (
        ("2026-01-01_00-00-00_old", iris[["petal_width"]]),
        ("2026-01-02_00-00-00_new", iris.drop(columns="species")),
    ):
        leave_model(project, run, train(x, iris["species"]))
    return project


def leave_model(project: Path, run: str, model: Any) -> None:
    path = project / "models" / run / "train_model.skops"
    path.parent.mkdir(parents=True)
    path.write_bytes(models.dumps(model))


def test_predict_prints_class_and_probability_of_a_row_with_the_newest_model(
    iris_project: Path, command: Command
) -> None:
    answer = command("predict", "5.1", "3.5", "1.4", "0.2")
    assert answer.exit_code == 0
    assert answer.out.startswith("setosa (probability 0.9")
    assert command("predict", "-5.1", "-3.5", "-1.4", "0.2").out.startswith("setosa")
    assert command("predict", "", "", "1.4", "0.2").out.startswith("setosa")  # gaps are filled


def test_predict_takes_one_row_or_a_file(command: Command) -> None:
    answer = command("predict", 5.1, 3.5, 1.4, 0.2, "--csv", "new.csv")
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == "Error: Give the values of one row, or --csv, not both.\n"


def test_predict_adds_class_and_probability_to_the_rows_of_a_csv_file(
    iris_project: Path, command: Command
) -> None:
    (iris_project / "new.csv").write_text(
        "id,petal_width,petal_length,sepal_width,sepal_length\n"
        'one,0.2,1.4,3.5,5.1\n"two, too",2.3,6.1,,7.7\n',
        "utf-8-sig",
    )
    answer = command("predict", "--csv", iris_project / "new.csv")
    assert answer.exit_code == 0
    header, one, two = answer.out.splitlines()
    assert header == "id,petal_width,petal_length,sepal_width,sepal_length,class,probability"
    assert one.startswith("one,0.2,1.4,3.5,5.1,setosa,0.9")
    assert two.startswith('"two, too",2.3,6.1,,7.7,virginica,0.')


def test_predict_takes_texts_and_prints_the_class_alone_where_there_is_no_probability(
    project: Path, command: Command
) -> None:
    x = pd.DataFrame({"colour": ["red", "red", "blue", "blue"], "size": [1, 2, 1, 2]})
    y = pd.Series(["rose", "rose", "iris", "iris"])
    model = new_model().set_params(classifier=RidgeClassifier()).fit(x, y)
    model.schema_ = train(x, y).schema_
    leave_model(project, "2026-01-01_00-00-00_flowers", model)
    assert command("predict", "blue", "1.5").out == "iris\n"
    assert command("predict", "green", "").exit_code == 0  # a text that training never saw
    (project / "new.csv").write_text("size,colour\n1,red\n,blue\n", "utf-8")
    answer = command("predict", "--csv", project / "new.csv")
    assert answer.out == "size,colour,class\n1,red,rose\n,blue,iris\n"


BAD_ROWS = {
    "5.1 3.5": "The model needs 4 values: sepal_length, sepal_width, petal_length, petal_width",
    "5.1 3.5 1.4 0,2": "petal_width must be a number, not '0,2'\n",
    "": "The model needs 4 values",
    "--csv none.csv": "there is no such file",
    "--csv empty.csv": "it is not a CSV table: Empty CSV file",
    "--csv other.csv": "there is no column 'sepal_width'",
    "--csv text.csv": "petal_length must be a number, not 'big'\n",
}


def test_a_python_that_is_too_old_says_what_to_do(project: Path) -> None:
    older = "import runpy, sys; sys.version_info = (3, 8, 18); runpy.run_path(sys.argv[1])"
    started = subprocess.run(
        [sys.executable, "-c", older, project / "main.py"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (started.returncode, started.stdout) == (1, "")
    assert started.stderr.startswith("Error: the project needs Python 3.11 or newer")
    assert "uv run main.py" in started.stderr
    assert "Traceback" not in started.stderr


def test_a_python_without_the_packages_says_what_to_do(project: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-S", project / "main.py"],  # -S: without what is installed
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (started.returncode, started.stdout) == (1, "")
    assert "does not have the project's packages" in started.stderr
    assert "uv run main.py" in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows tells nobody that a pipe has lost its reader")
@pytest.mark.parametrize("arguments", ["--help", "predict 5.1 3.5 1.4 0.2", "predict --csv 9.csv"])
def test_whoever_reads_the_output_may_stop_as_head_does(arguments: str, iris_project: Path) -> None:
    columns = "sepal_length,sepal_width,petal_length,petal_width"
    rows = "5.1,3.5,1.4,0.2\n" * 9000  # more than Python keeps before it writes
    (iris_project / "9.csv").write_text(f"{columns}\n{rows}", "utf-8")
    code, err = without_reader(sys.executable, "main.py", *arguments.split(), cwd=iris_project)
    model = "Model: 2026-01-02_00-00-00_new\n"
    assert (code, err) == (1, "" if arguments == "--help" else model)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows tells nobody that a pipe has lost its reader")
@pytest.mark.usefixtures("prefect_server")
def test_a_run_whose_last_lines_nobody_reads_has_succeeded(project: Path) -> None:
    code, err = without_reader(sys.executable, "main.py", "run", "data-engineer", cwd=project)
    assert code == 0, err
    assert "Traceback" not in err
    (run,) = [path.name for path in (project / "data" / "processed").iterdir()]
    assert facts(project, run)["state"] == "Completed"


def without_reader(*command: str, cwd: Path) -> tuple[int, str]:
    """Return exit code and stderr of a command whose output nobody reads any more."""
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # a short text is written at the end
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdout=writes,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    finally:
        os.close(writes)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", BAD_ROWS)
def test_predict_refuses_what_the_model_cannot_use(
    arguments: str, iris_project: Path, command: Command
) -> None:
    (iris_project / "empty.csv").write_bytes(b"")
    (iris_project / "other.csv").write_text("sepal_length\n5.1\n", "utf-8")
    columns = "sepal_length,sepal_width,petal_length,petal_width"
    (iris_project / "text.csv").write_text(f"{columns}\n5.1,3.5,big,0.2\n", "utf-8")
    parts = [iris_project / part if part.endswith(".csv") else part for part in arguments.split()]
    answer = command("predict", *parts)
    assert (answer.exit_code, answer.out) == (2, "")
    assert BAD_ROWS[arguments] in answer.err


def test_predict_says_so_where_there_is_no_model(command: Command) -> None:
    answer = command("predict", "5.1", "3.5", "1.4", "0.2")
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == "Error: There is no model yet: train one with `python main.py`.\n"


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95cut short", b"PK\x03\x04"])
def test_predict_opens_no_pickle_and_no_damaged_model(
    content: bytes, iris_project: Path, command: Command
) -> None:
    (newest,) = iris_project.glob("models/*_new/train_model.skops")
    newest.write_bytes(content)
    answer = command("predict", "5.1", "3.5", "1.4", "0.2")
    assert (answer.exit_code, answer.out) == (2, "")
    assert "it is damaged" in answer.err


# ---- rows 6, 7 and 13: deployments and schedules


def test_row_06_prefect_yaml_describes_the_flows() -> None:
    described = yaml.safe_load((PROJECT / "prefect.yaml").read_text("utf-8"))
    assert [one["name"] for one in described["deployments"]] == [NAME] * len(FLOWS)
    names = {load_flow_from_entrypoint(one["entrypoint"]).name for one in described["deployments"]}
    assert names == set(FLOWS)
    for one in described["deployments"]:
        assert len(one["tags"]) == 1
        assert one["description"].endswith(".")


@pytest.fixture
def deployments_to_serve(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The deployments that `serve` hands to Prefect, which does not serve them here."""
    result: list[Any] = []
    monkeypatch.setattr(deployments.prefect, "serve", lambda *flows, **_: result.extend(flows))
    monkeypatch.setattr("runtime.cli.start_dashboard", lambda: SERVER)
    monkeypatch.setattr("runtime.cli.wait_for_dashboard", lambda _: None)
    return result


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("options", [[], ["--every", "60"], ["--cron", "0 6 * * *"]])
def test_row_13_the_schedule_is_that_of_main_flow_alone_and_its_runs_never_overlap(
    options: list[str], command: Command, deployments_to_serve: list[Any]
) -> None:
    answer = command("serve", *options, *(["--timezone", "America/Sao_Paulo"] if options else []))
    assert (answer.exit_code, answer.err) == (0, "")
    names = {f"{name}/{NAME}" for name in FLOWS}
    names |= {f"main-flow/{NAME}-schedule"} if options else set()
    assert {f"{one.flow_name}/{one.name}" for one in deployments_to_serve} == names
    for one in deployments_to_serve:
        if one.name == NAME:
            assert (one.schedules, one.concurrency_limit) == ([], None)
            continue
        schedule = one.schedules[0].schedule
        if options[0] == "--every":
            assert schedule.interval == timedelta(seconds=60)
        else:
            assert (schedule.cron, schedule.timezone) == ("0 6 * * *", "America/Sao_Paulo")
        assert one.concurrency_limit == 1
        assert one.concurrency_options.collision_strategy == ConcurrencyLimitStrategy.CANCEL_NEW


BAD_SCHEDULES = {
    "--every 0": "--every 0 is not allowed",
    "--every 60 --cron @daily": "Give --every or --cron, not both",
    "--cron nonsense": "--cron 'nonsense'",
    "--cron '0 0 31 2 *'": "--cron '0 0 31 2 *' never comes",
    "--cron @daily --timezone Nowhere/Else": "--timezone 'Nowhere/Else'",
}


@pytest.mark.parametrize("options", BAD_SCHEDULES)
def test_row_13_a_bad_schedule_is_exit_code_2(
    options: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.cli.start_dashboard", lambda: SERVER)
    answer = command("serve", *shlex.split(options))
    assert (answer.exit_code, answer.out) == (2, "")
    assert BAD_SCHEDULES[options] in answer.err


@pytest.fixture
def in_recife(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is three hours behind UTC."""
    if os.name == "nt":
        pytest.skip("Windows has no TZ")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "BRT3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_recife")
def test_row_13_a_cron_schedule_is_in_the_time_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deployments, "get_localzone_name", lambda: "America/Recife")
    schedule = deployments.read_schedule(every=None, cron="0 6 * * *", timezone=None)
    assert schedule is not None
    assert schedule.timezone == "America/Recife"
    assert "Schedule: 0 6 * * * in America/Recife, next " in capsys.readouterr().out
    # With TZ=BRT3, which is no name, tzlocal finds that of another setting.
    monkeypatch.setattr(deployments, "get_localzone_name", lambda: "Etc/UTC")
    with pytest.raises(UserError, match="time zone is not known: give --timezone"):
        deployments.read_schedule(every=None, cron="0 6 * * *", timezone=None)


# ---- doctor


@pytest.mark.usefixtures("prefect_server")
def test_doctor_examines_each_thing_in_a_line(command: Command, project: Path) -> None:
    answer = command("doctor")
    assert answer.exit_code == 0
    lines = [line.split()[:2] for line in answer.out.splitlines()]
    assert [name for _, name in lines] == [
        "Python",
        "Packages",
        "Folders",
        "Port",
        "Proxies",
        "Graphviz",
        "Server",
        "Outputs",
    ]
    assert {mark for mark, _ in lines} <= {"ok", "note"}
    assert answer.out.splitlines()[-2].endswith(f"answers at {SERVER.api_url}")


@pytest.mark.usefixtures("prefect_server")
def test_doctor_says_what_to_do(
    command: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.99"\n'
        'dependencies = ["no-such-package>=1", "prefect<3"]\n'
        '[tool.runtime]\noutputs = "a folder"\n',
        "utf-8",
    )
    monkeypatch.setenv("PATH", "")
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv(name, "http://ana:secret@proxy:3128" if name == "http_proxy" else "")
    (project / "reports").write_text("a file where a folder must be", "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setattr(server, "FIRST_PORT", port)
        answer = command("doctor")
    python = ".".join(map(str, sys.version_info[:3]))
    assert answer.exit_code == 1
    *lines, server_line, outputs_line = answer.out.splitlines()
    assert server_line.startswith("ok   Server ")
    assert outputs_line.startswith("FAIL Outputs   OUTPUTS='a folder' is not allowed: ")
    assert lines == [
        f"FAIL Python    {python}: install Python >=3.99",
        f"FAIL Packages  no-such-package is missing, prefect is {metadata.version('prefect')}: "
        "run `uv sync`, or `pip install -r requirements.txt`",
        f"FAIL Folders   reports cannot be written to: {os.strerror(17)}",
        f"note Port      {port} is in use: the dashboard takes the next free one",
        "ok   Proxies   http http://…@proxy:3128: not asked for this project's own server",
        "note Graphviz  not found: `visualize` draws Mermaid only; "
        "see https://graphviz.org/download",
    ]


def test_doctor_says_so_where_no_server_answers(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        answer = command("doctor")
    assert answer.exit_code == 1
    assert "\nFAIL Server    http://127.0.0.1:9/api cannot be reached: " in answer.out


# ---- which server


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Leaves a server.json as `ui` does, in a Prefect home of its own."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL")

    def leave(text: str) -> None:
        (tmp_path / "server.json").write_text(text, "utf-8")

    return leave


def test_the_users_own_server_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    assert server.use_server() == server.Server("https://prefect.example/api")


def test_the_server_of_an_active_profile_is_taken(
    tmp_path: Path, record: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        'active = "lab"\n[profiles.lab]\nPREFECT_API_URL = "https://lab.example/api"\n', "utf-8"
    )
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(profiles))
    assert server.use_server() == server.Server("https://lab.example/api")


@pytest.mark.usefixtures("record")
def test_a_login_in_the_project_comes_before_one_in_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in ((tmp_path / "ana" / ".prefect", "home"), (tmp_path, "project")):
        for variable in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(variable, str(tmp_path / "ana"))
        monkeypatch.delenv("PREFECT_PROFILES_PATH")
        folder.mkdir(parents=True, exist_ok=True)
        url = f"https://{name}.example/api"
        profile = f'active = "a"\n[profiles.a]\nPREFECT_API_URL = "{url}"\n'
        (folder / "profiles.toml").write_text(profile, "utf-8")
        assert server.use_server() == server.Server(url)


@pytest.mark.usefixtures("prefect_server")
def test_a_running_server_of_this_project_is_found(
    record: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(json.dumps({"api_url": SERVER.api_url}))
    assert server.find() is None  # of another project: it keeps its records elsewhere
    monkeypatch.setenv("PREFECT_HOME", HOME)
    file = Path(HOME, "server.json")
    file.write_text(json.dumps({"api_url": SERVER.api_url}), "utf-8")
    try:
        assert server.find() == server.Server(SERVER.api_url, is_own=True)
    finally:
        file.unlink()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"api_url": 5}',
        '{"api_url": "nonsense"}',
        '{"api_url": "http://127.0.0.1:9/api"}',  # no server is there any more
    ],
)
def test_a_damaged_or_old_record_of_a_server_is_ignored(
    text: str, record: Callable[[str], None]
) -> None:
    record(text)
    assert server.find() is None


@pytest.mark.parametrize("answer", ["not JSON", '"0.0.1"', "[]", "null"])
def test_something_else_at_the_recorded_address_is_ignored(
    answer: str, record: Callable[[str], None]
) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: Any) -> None:
            pass

    stranger = HTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    try:
        record(json.dumps({"api_url": f"http://127.0.0.1:{stranger.server_port}/api"}))
        assert server.find() is None
    finally:
        stranger.shutdown()
        stranger.server_close()


@pytest.mark.usefixtures("record")
def test_a_new_server_looks_for_its_address_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile() -> None:
        address_is_known.append("PREFECT_API_URL" in os.environ)

    for name in ("PREFECT_UI_URL", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # else it would stay set
    address_is_known: list[bool] = []
    new = server.use_server(meanwhile=meanwhile)
    try:
        # What is called must not import Prefect, which reads the address.
        assert address_is_known == [False]
        assert os.environ["PREFECT_API_URL"] == new.api_url
        monkeypatch.setattr(server, "find", lambda only=None: new)
        server.use_server(meanwhile=meanwhile)
        assert len(address_is_known) == 1
    finally:
        server.stop(new)


def test_a_server_that_ends_early_is_reported(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"], text=True) as process:
        process.wait()
        ended = server.Server("http://127.0.0.1:9/api", True, process)
        with pytest.raises(UserError, match=r"did not start; .*server\.log says why"):
            server.wait_until_ready(ended)


def test_a_server_that_writes_nothing_more_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    urls: list[str] = []

    def nothing_is_written(url: str, content: Any = None) -> int:
        urls.append(url)
        return 0

    monkeypatch.setattr(server, "ask", nothing_is_written)
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(server, "_task_runs", {str(i): "a" for i in range(100)})
    ends_with_input = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(ends_with_input, stdin=subprocess.PIPE, text=True) as stuck:
        server.stop(server.Server("http://127.0.0.1:9/api", True, stuck))
        assert stuck.poll() == 0
    assert "http://127.0.0.1:9/api/task_runs/count" in urls


# ---- short cuts


def tables(path: Path) -> set[tuple[str, ...]]:
    """What a database is made of: each column, constraint and index; and its revision.

    Prefect's migrations leave the columns of a table in an order that differs each time.
    """
    with closing(sqlite3.connect(path)) as database:
        parts = database.execute("SELECT name, ifnull(sql, '') FROM sqlite_master").fetchall()
        revision = database.execute("SELECT version_num FROM alembic_version").fetchall()
    inner = {name: "".join(sql.split()).partition("(")[2].removesuffix(")") for name, sql in parts}
    return {(name, *sorted(text.split(","))) for name, text in inner.items()} | set(revision)


def url_of(database: Path) -> str:
    return f"sqlite+aiosqlite:///{database}"


def migrate(path: Path, *command: str) -> None:
    """Let Prefect take a database to another version of its tables."""
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", *command, "--yes"],
        cwd=path.parent,
        env={**os.environ, "PREFECT_SERVER_DATABASE_CONNECTION_URL": url_of(path)},
        check=True,
        capture_output=True,
    )


@pytest.mark.slow
def test_tables_sql_holds_the_tables_that_prefect_makes(tmp_path: Path) -> None:
    assert TABLES.read_text("utf-8").startswith(f"-- Prefect {prefect.__version__}:")
    slow, quick = tmp_path / "slow.db", tmp_path / "quick.db"
    migrate(slow, "upgrade")
    assert prepare_database(url_of(quick))
    assert tables(quick) == tables(slow)


@pytest.mark.slow
def test_a_newer_prefect_brings_the_tables_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, new, now = (tmp_path / name for name in ("older.db", "new.db", "now.db"))
    assert prepare_database(url_of(now))
    assert prepare_database(url_of(older))
    migrate(older, "downgrade", "--revision", "-1")
    assert tables(older) != tables(now)
    with closing(sqlite3.connect(older)) as database:
        statements = [text for text in database.iterdump() if text[:6] in ("CREATE", "INSERT")]
    script = tmp_path / "tables.sql"
    script.write_text("\n".join(["-- Prefect 3.9.0:", *statements]), encoding="utf-8")
    monkeypatch.setattr(database_module, "TABLES", script)
    assert not prepare_database(url_of(new)), "Prefect has to look for migrations"
    assert tables(new) == tables(older)
    migrate(new, "upgrade")
    assert tables(new) == tables(now)


def test_several_first_runs_create_the_tables_once(tmp_path: Path) -> None:
    url = url_of(tmp_path / "new.db")
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(prepare_database, [url] * 8))


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_database_is_left_to_prefect(tmp_path: Path, content: bytes) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(content)
    assert not prepare_database(url_of(damaged))
    assert damaged.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    ["UPDATE alembic_version SET version_num = 'older'", "DELETE FROM alembic_version"],
)
def test_a_database_of_another_version_is_left_to_prefect(tmp_path: Path, change: str) -> None:
    other = tmp_path / "other.db"
    assert prepare_database(url_of(other))
    with closing(sqlite3.connect(other)) as database, database:
        database.execute(change)
    assert not prepare_database(url_of(other))


@pytest.mark.parametrize("url", ["", "postgresql+asyncpg://u@h/d", "sqlite+aiosqlite:///:memory:"])
def test_another_database_is_left_to_prefect(url: str) -> None:
    assert not prepare_database(url)


LIGHT = {
    "cyclopts",
    "attr",
    "attrs",
    "docstring_parser",
    "rich",
    "pygments",
    "markdown_it",
    "mdurl",
}
PYDANTIC = {
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("--help", LIGHT),
        ("visualize --help", LIGHT),
        ("run --param test_data_ratio=1.5", LIGHT | PYDANTIC),
    ],
)
def test_an_answer_at_once_imports_nothing_heavy(arguments: str, allowed: set[str]) -> None:
    show = (
        "import sys; from runtime.cli import main; main(sys.argv[1:]);"
        "names = {name.partition('.')[0] for name, m in list(sys.modules.items())"
        " if 'site-packages' in str(getattr(m, '__file__', ''))};"
        "print('IMPORTED', *sorted(names))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", show, *arguments.split()],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = set(answer.stdout.splitlines()[-1].split()[1:])
    assert names
    # A name that begins so belongs to the environment itself.
    assert {name for name in names if not name.startswith("_")} <= allowed


def test_one_processor_does_the_linear_algebra_unless_the_user_says_otherwise() -> None:
    show = (
        "from runtime.cli import main; main(['--help']); import numpy, threadpoolctl;"
        "pools = threadpoolctl.threadpool_info();"
        "print(*{one['num_threads'] for one in pools if one['internal_api'] == 'openblas'})"
    )
    for variables, threads in (({}, {"", "1"}), ({"OPENBLAS_NUM_THREADS": "2"}, {"", "1", "2"})):
        environment = {name: value for name, value in os.environ.items() if "BLAS" not in name}
        answer = subprocess.run(
            [sys.executable, "-c", show],
            cwd=PROJECT,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        # "": where NumPy has another library, as on a Mac. One processor takes one thread only.
        assert answer.stdout.splitlines()[-1] in threads


def test_a_prediction_imports_neither_prefect_nor_its_server(iris_project: Path) -> None:
    unwanted = ["prefect", "fastapi", "sqlalchemy", "uvicorn"]
    show = (
        "import sys; from runtime.cli import main;"
        "print(main(['predict', '5.1', '3.5', '1.4', '0.2']));"
        f"print([name for name in {unwanted} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", show],
        cwd=iris_project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.splitlines()[-2:] == ["0", "[]"], answer.stderr


@pytest.mark.parametrize(("force_color", "has_colours"), [("", False), ("1", True)])
def test_the_log_is_coloured_in_a_terminal_only(
    force_color: str, has_colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", force_color)  # with it, rich takes any stream for a terminal
    monkeypatch.delenv("NO_COLOR", raising=False)
    output = io.StringIO()
    handler = console.PlainConsoleHandler(stream=output, styles={"log.completed_state": "green"})
    record = logging.LogRecord("any", logging.INFO, "", 1, "ends in [b]Completed()", (), None)
    handler.emit(record)
    assert ("\x1b[" in output.getvalue()) == has_colours
    assert re.sub(r"\x1b\[[\d;]*m", "", output.getvalue()) == "ends in [b]Completed()\n"


@pytest.mark.parametrize("is_own", [True, False])
def test_only_a_server_of_this_project_is_spared_heartbeats_and_version_checks(
    is_own: bool,
) -> None:
    with server.settings_for(server.Server("http://127.0.0.1:9/api", is_own)):
        settings = get_current_settings()
    assert (settings.flows.heartbeat_frequency is None) is is_own
    assert settings.client.server_version_check_enabled is not is_own
    assert settings.client.csrf_support_enabled is not is_own


def listens(api_url: str) -> bool:
    host, port = api_url.removeprefix("http://").removesuffix("/api").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


# ---- the whole program


@pytest.mark.usefixtures("prefect_server")
def test_row_05_and_08_the_program_takes_parameters_and_notices_a_changed_task(
    project: Path, program: Program
) -> None:
    data_engineer()
    (encoded,) = (project / "data" / "interim").glob("*.parquet")
    file = project / "flows" / "data_engineer.py"
    source = file.read_text("utf-8")
    assert source.count('dtype="int8"') == 1
    file.write_text(source.replace('dtype="int8"', 'dtype="int16"'), "utf-8")

    (project.parent / "mine.json").write_text('{"test_data_ratio": 0.4, "seed": 7}', "utf-8")
    params = ["--param", "test_data_ratio=0.3", "--param-file", "mine.json"]
    answer = ends(program("run", "data-engineer", *params))
    assert answer.exit_code == 0, answer.err
    assert "Task run 'encode_categorical_columns-" in answer.err
    assert "Cached" not in answer.err
    (again,) = set((project / "data" / "interim").glob("*.parquet")) - {encoded}
    assert [str(pd.read_parquet(path)["setosa"].dtype) for path in (encoded, again)] == [
        "int8",
        "int16",
    ]
    run = answer.out.partition("data/processed/")[2].split()[0]
    assert facts(project, run)["flows"]["data-engineer"]["parameters"] == {
        "raw_path": "data/raw/iris.csv",
        "target_col": "species",
        "test_data_ratio": 0.3,
        "seed": 7,
        "drop_cols": [],
        "unlabelled": "refuse",
    }


@pytest.mark.usefixtures("prefect_server")
def test_row_05_the_model_gets_the_parameters_of_the_command_line(
    project: Path, program: Program
) -> None:
    params = ["--param", 'model_params={"max_iter": 50}', "--param", "model_params.C=0.5"]
    answer = ends(program(*params))
    assert answer.exit_code == 0, answer.err
    (file,) = (project / "models").glob("*/train_model.skops")
    in_model = models.loads(file.read_bytes()).get_params()
    assert (in_model["classifier__C"], in_model["classifier__max_iter"]) == (0.5, 50)


NEW_FLOW = """
from prefect import flow, task

@task
def greet(name):
    print(f"Hello {name}")

@flow(log_prints=True)
def say_hello(name: str = "you"):
    greet(name)
"""


@pytest.mark.usefixtures("prefect_server")
def test_a_new_file_in_flows_is_found_by_every_command(
    project: Path, program: Program, deployments_to_serve: list[Any], command: Command
) -> None:
    (project / "flows" / "hello.py").write_text(NEW_FLOW, "utf-8")
    answer = ends(program("run", "say-hello", "--param", "name=Ana"))
    assert answer.exit_code == 0, answer.err
    assert "Hello Ana" in answer.err
    assert answer.out.startswith("\nDashboard ")  # without @in_run_folder a flow leaves no files
    answer = ends(program("visualize", "say-hello"))
    assert answer.exit_code == 0, answer.err
    assert "greet" in answer.out
    assert command("serve").exit_code == 0
    assert f"say-hello/{NAME}" in {f"{one.flow_name}/{one.name}" for one in deployments_to_serve}


MANY_TASKS = """
from prefect import flow, task
from runtime import in_run_folder

@task
def one(number):
    pass

@flow
@in_run_folder
def many():
    for number in range(1000):
        one(number)
"""


@pytest.mark.slow
def test_all_of_many_quick_tasks_are_on_record(project: Path, program: Program) -> None:
    (project / "flows" / "many.py").write_text(MANY_TASKS, "utf-8")
    answer = ends(program("run", "many", PREFECT_API_URL=None, PREFECT_HOME=None))
    assert answer.exit_code == 0, answer.err
    with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as database:
        states = "SELECT state_type, count(*) FROM task_run GROUP BY state_type"
        assert database.execute(states).fetchall() == [("COMPLETED", 1000)]
        states = "SELECT type, count(*) FROM task_run_state GROUP BY type ORDER BY type"
        each = [("COMPLETED", 1000), ("PENDING", 1000), ("RUNNING", 1000)]
        assert database.execute(states).fetchall() == each


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("flows/main_flow.py", ()),
        ("flows/data_engineer.py", ("run", "data-engineer", "--param", "seed=3")),
        ("flows/tune.py", ("visualize", "tune")),
        ("flows/clean_data.py", ("run", "clean-data")),
        ("flows/clean_data.py", ("ui", "--no-browser")),
        ("flows/data_science.py", ("serve",)),
    ],
)
def test_a_file_that_python_cannot_read_is_named_with_the_line(
    file: str, arguments: tuple[str, ...], project: Path, program: Program
) -> None:
    text = "from prefect import flow\n\n\n@flow\ndef clean_data() -> None:\n    print((1)\n"
    (project / file).write_text(text, "utf-8")
    answer = ends(program(*arguments))
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == f"Error: {file}, line 6: '(' was never closed.\n"


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("arguments", [("run", "tune"), ("visualize",), ("ui", "--no-browser")])
@pytest.mark.parametrize("file", ["ml/model.py", "flows/parameters.py"])
def test_so_is_one_that_a_flow_imports(
    file: str, arguments: tuple[str, ...], project: Path, program: Program
) -> None:
    (project / file).write_text("def train(:\n", "utf-8")
    answer = ends(program(*arguments))
    assert answer.exit_code == 2
    assert answer.err == f"Error: {file}, line 1: invalid syntax.\n"


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("flows/data_engineer.py", '    """Return the rows of a CSV file'),
        ("flows/data_engineer.py", "INTERIM = "),
        ("ml/model.py", '    """Return an unfitted model.'),
    ],
    ids=["task", "import", "ml"],
)
def test_an_error_of_ones_own_is_named_with_file_and_line(
    file: str, text: str, project: Path, program: Program
) -> None:
    before, after = (project / file).read_text("utf-8").split(text)
    indent = " " * (len(text) - len(text.lstrip()))
    raises = f"{before}{indent}raise KeyError('sepal')\n{text}{after}"
    (project / file).write_text(raises, "utf-8")
    answer = ends(program())
    assert (answer.exit_code, answer.out) == (1, "")
    assert answer.err.splitlines()[-2:] == [
        f"Error: KeyError: 'sepal' ({file}, line {before.count(chr(10)) + 1})",
        "The run failed; --debug shows the whole traceback.",
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_flow_in_a_file_that_is_no_utf_8_is_named(
    encoding: str, project: Path, program: Program
) -> None:
    (project / "flows" / "clean_data.py").write_text("# preço\n", encoding)
    answer = ends(program("run", "clean-data"))
    assert answer.exit_code == 2
    assert answer.err.startswith("Error: flows/clean_data.py")
    assert "Traceback" not in answer.err


def test_a_flow_may_be_saved_with_a_byte_order_mark(project: Path) -> None:
    file = project / "flows" / "tune.py"
    file.write_text(file.read_text("utf-8"), "utf-8-sig")
    assert find_flows()["tune"].definition().name == "tune"


@pytest.mark.usefixtures("prefect_server")
def test_each_fault_of_the_data_is_named_once_at_the_end(project: Path, program: Program) -> None:
    iris = (project / "data" / "raw" / "iris.csv").read_text("utf-8").splitlines()
    rows = ["big,3.5,1.4,0.2,setosa"] * 3 + iris[4:]
    (project / "bad.csv").write_text("\n".join([iris[0], *rows, ""]), "utf-8")
    answer = ends(program("--param", "raw_path=bad.csv"))
    assert answer.exit_code == 2
    states, error = answer.err.split("Error: ")
    assert states.count("The raw data cannot be used: …") == 3  # of the task and of both flows
    assert "column" not in states
    assert error.splitlines() == [
        "The raw data cannot be used:",
        *(f"  - line {i}, column 'sepal_length', 'big' is not a number" for i in (2, 3, 4)),
    ]


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("at_the_end", [True, False])
def test_only_the_state_of_the_task_says_all_where_main_py_does_not(
    quote: str, at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "main_py_runs_here", lambda: at_the_end)
    output = io.StringIO()
    handler = console.PlainConsoleHandler(stream=output)
    state = rf"Finished in state Failed({quote}in C:\\new cannot be used:\n  - a\n  - b{quote})"
    cut = rf"Finished in state Failed({quote}in C:\\new cannot be used: …{quote})"
    for level, message in ((logging.INFO, cut), (logging.ERROR, cut if at_the_end else state)):
        handler.emit(logging.LogRecord("any", level, "", 1, state, (), None))
        assert output.getvalue() == f"{message}\n"
        output.truncate(output.seek(0))


@pytest.mark.usefixtures("prefect_server")
def test_rows_02_07_and_14_a_run_and_the_dashboard_need_no_preparation(
    project: Path, program: Program
) -> None:
    own = {"PREFECT_API_URL": None, "PREFECT_HOME": None}
    first = ends(program(**own))
    assert first.exit_code == 0, first.err
    assert "Traceback" not in first.out + first.err
    assert not [line for line in first.err.splitlines() if "WARN" in line.upper()]
    for task in ("load_data", "encode_categorical_columns", "get_classes", "split_data"):
        assert f"Task run '{task}-" in first.err
    assert "Finished in state Completed()" in first.err
    (run,) = [path.name for path in (project / "data" / "processed").iterdir()]
    accuracy = facts(project, run)["metrics"]["accuracy"]
    assert f"Model accuracy on test set: {round(accuracy * 100, 2)}" in first.err
    assert first.out.splitlines()[-6:] == [
        f"Accuracy     {accuracy:.2%} of the test set (33.33% by guessing)",
        "Metrics      balanced_accuracy 0.9333, macro_f1 0.9333, roc_auc 0.9967",
        f"Checkpoints  data/processed/{run}",
        f"Model        models/{run}/train_model.skops",
        f"Report       reports/{run}/report.html",
        "Dashboard    python main.py ui",
    ]

    dashboard = program("ui", "--no-browser", **own)
    assert dashboard.stdout is not None
    line = dashboard.stdout.readline()
    assert line.startswith("Dashboard: http://127.0.0.1:"), ends(dashboard)
    url = line.split()[1]
    with urllib.request.urlopen(url) as page:
        assert b"<title>Prefect" in page.read()

    with urllib.request.urlopen(f"{url}/ui-settings") as settings:
        assert json.load(settings)["api_url"] == f"{url}/api"

    def listed(kind: str) -> list[str]:
        request = urllib.request.Request(
            f"{url}/api/{kind}/filter", b"{}", {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return [one["name"] for one in json.load(answer)]

    wait_until(lambda: len(listed("deployments")) == len(FLOWS))
    assert "Slack Webhook" in listed("block_types")  # which the run's own server left out
    again = ends(program("ui", "--no-browser", **own))
    assert (again.exit_code, again.out) == (2, "")
    assert again.err == f"Error: This project's dashboard already runs: {url}\n"

    if os.name == "posix":
        dashboard.send_signal(signal.SIGINT)
        assert ends(dashboard).exit_code in (0, 130)
    else:
        dashboard.kill()
        ends(dashboard)
    # Its server ends with it, also when it was killed.
    wait_until(lambda: not listens(f"{url}/api"))


def test_the_server_never_holds_an_answer_back_to_fill_a_packet() -> None:
    with (
        listen(0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_a_run_that_is_killed_after_its_last_line_is_on_record(
    project: Path, program: Program
) -> None:
    process = program("run", "data-engineer", PREFECT_API_URL=None, PREFECT_HOME=None)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Dashboard"):
            process.kill()
    log = ends(process).err
    flow_run = re.findall(r"Flow run '(\S+)' - Finished", log)
    with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as database:

        def column(sql: str) -> list[str]:
            return [row[0] for row in database.execute(sql).fetchall()]

        assert column("SELECT state_name FROM flow_run") == ["Completed"]
        assert column("SELECT name FROM flow_run") == flow_run
        assert sorted(column("SELECT state_name FROM task_run")) == ["Completed"] * 5
        messages = column("SELECT message FROM log")
    for message in re.findall(r" run '\S+' - (.*)$", log, re.MULTILINE):
        assert message in messages


def test_two_runs_at_once_in_a_new_project_do_not_disturb_each_other(
    project: Path, program: Program
) -> None:
    both = [program("run", "data-engineer", PREFECT_API_URL=None, PREFECT_HOME=None) for _ in "12"]
    for process in both:
        answer = ends(process)
        assert answer.exit_code == 0, answer.err
        assert "locked" not in answer.out + answer.err
    runs = [path.name for path in (project / "data" / "processed").iterdir()]
    assert len(runs) == 2
    assert {facts(project, run)["state"] for run in runs} == {"Completed"}
    assert "locked" not in (project / ".prefect" / "server.log").read_text("utf-8")


def test_a_server_ends_when_the_program_that_started_it_is_killed(
    project: Path, prefect_server: server.Server
) -> None:
    start = "from runtime import server; print(server.start().api_url, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", start],
        cwd=project,
        env={**os.environ, "PREFECT_HOME": str(project / ".prefect")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        api_url = parent.stdout.readline().strip()
        assert listens(api_url)
        parent.kill()
        wait_until(lambda: not listens(api_url))


@pytest.mark.parametrize(
    ("message", "is_shown"),
    [("Still processing items: 3 items remaining...", False), ("Something to read", True)],
)
def test_what_says_nothing_to_a_person_is_not_shown(
    message: str, is_shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = console.PlainConsoleHandler(stream=sys.stderr)
    handler.emit(logging.LogRecord("prefect", logging.WARNING, "", 0, message, (), None))
    assert (message in capsys.readouterr().err) is is_shown

"""What a cell means is decided once, at training, and prediction follows it."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Answer, facts, report_on
from flows.data_engineer import encode_categorical_columns, get_classes, split_data
from flows.main_flow import main_flow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml.checks import check_table, notes
from ml.data import BadData, read_csv
from ml.model import predict_rows, train
from runtime import models
from runtime.formats import ParquetSerializer

Command = Callable[..., Answer]
RUN = "2026-01-01_00-00-00_tables"


def text_of(rows: list[list[Any]], separator: str = ",") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)
    return file.getvalue()


def write(folder: Path, text: str, name: str = "raw.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def checked(
    folder: Path, text: str, target_col: str = "kind", **options: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    return check_table(read_csv(write(folder, text)), target_col, 0.5, **options)


def learn(folder: Path, text: str, target_col: str = "kind") -> Any:
    """Return a model of the data, by the tasks of the flows, kept and read again on the way."""
    data, _ = checked(folder, text, target_col=target_col)
    classes = get_classes.fn(data, target_col)
    keeps = ParquetSerializer()
    split: Any = split_data.fn(encode_categorical_columns.fn(data, target_col), 0.5, classes)
    split = keeps.loads(keeps.dumps(split))
    model = train(split["train_x"], split["train_y"])
    return models.loads(models.dumps(model))


def leave(project: Path, model: Any) -> None:
    path = project / "models" / RUN / "train_model.skops"
    path.parent.mkdir(parents=True)
    path.write_bytes(models.dumps(model))


# ---- both ways of asking give the same answer

SAME = {
    "true and false": (["fresh"], ["true", "good"], ["false", "bad"]),
    "codes with zeros in front": (["code"], ["007", "a"], ["A7", "b"]),
    "NA is a text among texts": (["country"], ["NA", "a"], ["BR", "b"]),
    "a gap among texts": (["country", "size"], ["", "1", "a"], ["BR", "1", "b"]),
    "a gap among numbers": (["size", "width"], ["?", "1", "a"], ["5", "9", "b"]),
    "letters with accents": (["drink"], ["café", "a"], ["cafe\u0301s", "b"]),
    "numbers as names of columns": (["0", "1"], ["1", "2", "0"], ["3", "4", "1"]),
    "columns called like the answer": (["class", "probability"], ["1", "x", "a"], ["2", "y", "b"]),
    "columns called like the checkpoint's": (
        ["_set", "set", "row", "__index_level_0__"],
        ["1", "2", "3", "4", "set"],
        ["2", "3", "4", "5", "row"],
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_row_a_file_and_any_part_of_it_get_the_same_answers(
    name: str, project: Path, command: Command
) -> None:
    features, *rows = SAME[name]
    table = [[*features, "kind"], *rows * 10]
    leave(project, learn(project, text_of(table)))
    for asked in (rows, rows[:1], rows[1:], rows[::-1]):
        path = write(project, text_of([features, *(row[:-1] for row in asked)]), "new.csv")
        answer = command("predict", "--csv", path)
        assert answer.exit_code == 0, answer.err
        header, *lines = csv.reader(io.StringIO(answer.out))
        assert header[: len(features)] == features
        assert len(set(header)) == len(features) + 2
        for row, line in zip(asked, lines, strict=True):
            assert line[: len(features)] == row[:-1]  # written back as it was
            assert line[-2] == row[-1]
            alone = command("predict", "--", *row[:-1])
            assert alone.out == f"{line[-2]} (probability {float(line[-1]):.3f})\n"


def test_the_output_of_a_prediction_can_be_predicted_again(project: Path, command: Command) -> None:
    leave(project, learn(project, text_of([["size", "kind"], *[["1", "a"], ["2", "b"]] * 10])))
    first = command("predict", "--csv", write(project, "size\n1\n2\n", "new.csv"))
    again = command("predict", "--csv", write(project, first.out, "again.csv"))
    assert again.exit_code == 0
    header, *lines = csv.reader(io.StringIO(again.out))
    assert header == ["size", "class", "probability", "class_predicted", "probability_predicted"]
    assert [line[1:3] for line in lines] == [line[3:] for line in lines]


@pytest.mark.parametrize("header", ["size\n", "size\r\n", "size\n\n"])
def test_a_header_without_rows_is_answered_by_a_header(
    header: str, project: Path, command: Command
) -> None:
    leave(project, learn(project, text_of([["size", "kind"], *[["1", "a"], ["2", "b"]] * 10])))
    answer = command("predict", "--csv", write(project, header, "new.csv"))
    assert (answer.exit_code, answer.out) == (0, "size,class,probability\n")


def test_a_table_with_semicolons_is_answered_with_semicolons(
    project: Path, command: Command
) -> None:
    leave(project, learn(project, text_of([["size", "kind"], *[["1", "a"], ["9", "b"]] * 10])))
    answer = command("predict", "--csv", write(project, 'size;note\n1,5;"a;b"\n8,5;\n', "new.csv"))
    header, one, two = csv.reader(io.StringIO(answer.out), delimiter=";")
    assert header == ["size", "note", "class", "probability"]
    assert (one[:3], two[:3]) == (["1,5", "a;b", "a"], ["8,5", "", "b"])


CELL = st.one_of(
    st.sampled_from(
        ["", "NA", "true", "007", "7", "1.0", "x", "é", "e\u0301", "?", "a b", '"', ","]
    ),
    st.integers(-5, 5).map(str),
    st.text("ab1,;\t\n é", max_size=3),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(CELL, CELL, st.sampled_from("xy")), min_size=8, max_size=24))
def test_any_table_predicts_its_own_rows_alike_whatever_stands_beside_them(
    rows: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = text_of([["one", "two", "kind"], *map(list, rows)])
    try:
        data = read_csv(write(folder, text))
        model = learn(folder, text)
    except BadData:
        return
    written = data.to_csv(index=False, lineterminator="\n")
    assert [row for row in csv.reader(io.StringIO(written)) if any(row)] == [
        row for row in csv.reader(io.StringIO(text)) if any(row)
    ]
    answers = predict_rows(model, data)
    shuffled = data.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(predict_rows(model, shuffled), answers.loc[shuffled.index])
    some = data.fillna("").head(5)
    for cells, (name, share) in zip(some.to_numpy(), answers.head(5).to_numpy(), strict=True):
        alone = predict_rows(model, pd.DataFrame([cells], columns=data.columns))
        assert alone["class"].item() == name
        assert alone["probability"].item() == pytest.approx(share)


def test_a_text_that_training_never_saw_is_named(project: Path, command: Command) -> None:
    rows = [["country", "kind"], *[["BR", "a"], ["AR", "b"]] * 10]
    leave(project, learn(project, text_of(rows)))
    answer = command("predict", "Brazil")
    assert answer.exit_code == 0
    assert answer.out.startswith(("a", "b"))
    assert "unknown in 'country': 'Brazil' (did you mean 'BR'?)\n" in answer.err
    assert command("predict", "BR").err == f"Model: {RUN}\n"
    assert "unknown in 'country': '???'\n" in command("predict", "???").err


def test_all_probabilities_are_shown_where_they_are_wanted(project: Path, command: Command) -> None:
    rows = [["size", "kind"], *[["1", "a"], ["9", "b"]] * 10]
    leave(project, learn(project, text_of(rows)))
    lines = [line.split() for line in command("predict", "1", "--proba").out.splitlines()]
    assert [name for _, name in lines] == ["a", "b"]
    assert sum(float(share) for share, _ in lines) == pytest.approx(1, abs=0.002)
    answer = command("predict", "--proba", "--csv", write(project, "size\n1\n9\n", "new.csv"))
    header, *rows = csv.reader(io.StringIO(answer.out))
    assert header == ["size", "class", "probability of a", "probability of b"]
    assert [float(one) + float(two) for *_, one, two in rows] == pytest.approx([1, 1])


def test_the_model_of_another_run_is_used_where_it_is_named(
    project: Path, command: Command
) -> None:
    leave(project, learn(project, text_of([["size", "kind"], *[["1", "a"], ["9", "b"]] * 10])))
    answer = command("predict", "1", "--run", RUN)
    assert answer.out.startswith("a (")
    assert answer.err == f"Model: {RUN}\n"
    answer = command("predict", "1", "--run", "none")
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == "Error: There is no model of a run 'none' in models: check its name.\n"
    answer = command("predict", "1", "--run", "../models")
    assert (answer.exit_code, answer.out) == (2, "")


# ---- what a file says


def test_the_names_of_classes_are_the_texts_of_the_file(tmp_path: Path) -> None:
    for classes in (["007", "010"], ["1.1", "1.10"], ["NA", "None"], ["true", "false"], ["7", "?"]):
        rows = [["1", classes[0]], ["2", classes[1]]] * 10
        model = learn(tmp_path, text_of([["size", "kind"], *rows]))
        assert model.schema_["classes"] == sorted(classes)
        data, _ = checked(tmp_path, text_of([["size", "kind"], *rows]))
        assert data["kind"].tolist() == [kind for _, kind in rows]


READ = {
    "a line that names the separator": ("sep=;\nsize;kind\n", ";"),
    "separators within quotes": ('"size";"kind"\n', ";"),
    "tabs": ("size\tkind\n", "\t"),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_of_a_spreadsheet_is_read(name: str, tmp_path: Path) -> None:
    header, separator = READ[name]
    rows = [["1,5", "a"], ["2", "b"]] * 10
    data, _ = checked(tmp_path, header + text_of(rows, separator))
    assert data["size"].tolist() == [1.5, 2] * 10
    assert data["kind"].tolist() == ["a", "b"] * 10


def test_commas_within_a_quoted_name_do_not_separate(tmp_path: Path) -> None:
    rows = "1;a\n2;b\n" * 10
    data, _ = checked(tmp_path, f'"size, in cm, of leaf";kind\n{rows}')
    assert data.columns.tolist() == ["size, in cm, of leaf", "kind"]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['"1\n2",a', "big,b"], 24),  # a line break within a cell
        (["", "big,b"], 23),
        (['"1\r\n\r\n2",a', '"3\n4",a', "", "big,b"], 28),
    ],
)
def test_the_line_that_is_named_is_that_of_the_file(
    rows: list[str], line: int, tmp_path: Path
) -> None:
    text = "\n".join(["size,kind", *["1,a", "2,b"] * 10, *rows, ""])
    with pytest.raises(BadData) as caught:
        checked(tmp_path, text)
    assert f"line {line}, column 'size', 'big' is not a number" in str(caught.value)
    assert re.split("\r?\n", text)[line - 1] == "big,b"


def test_a_mark_of_a_gap_does_not_make_commas_unclear(tmp_path: Path) -> None:
    rows = [["1,100", "a"], ["2,250", "b"]] * 10 + [["?", "a"]]
    data, summary = checked(tmp_path, text_of([["size", "kind"], *rows], ";"))
    assert data["size"].head(2).tolist() == [1.1, 2.25]
    assert summary["gaps"] == {"size": 1}


@pytest.mark.parametrize("date", ["2021/01/{:02}", "2021-01-{:02} 10:30", "{:02}.01.2021"])
def test_dates_are_left_out(date: str, tmp_path: Path) -> None:
    rows = [[date.format(i % 9 + 1), str(i % 7), "ab"[i % 2]] for i in range(40)]
    _, summary = checked(tmp_path, text_of([["day", "size", "kind"], *rows], ","))
    assert summary["columns_left_out"] == {"day": "it holds dates"}


def test_rows_that_come_from_elsewhere_may_have_any_index_and_empty_texts() -> None:
    texts, sizes = ["", "BR", "US", "BR"] * 10, ["1", "2", "3", "x"] * 10
    data = pd.DataFrame({"country": texts, "size": sizes, "kind": ["a", "b"] * 20})
    data.index = pd.Index([f"id{i}" for i in range(40)])
    with pytest.raises(BadData, match="line 5, column 'size', 'x' is not a number"):
        check_table(data, "kind", 0.2)
    table, summary = check_table(data.assign(size=range(40)), "kind", 0.2)
    assert summary["gaps"] == {"country": 10}
    model = train(table.drop(columns="kind"), table["kind"])
    predicted = predict_rows(model, data.assign(size=range(40)))
    assert predicted["class"].tolist() == model.predict(table.drop(columns="kind")).tolist()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_comma_that_may_separate_thousands_is_refused(separator: str, tmp_path: Path) -> None:
    rows = [["1,234", "a"], ["999", "b"]] * 10
    with pytest.raises(BadData, match="has numbers such as 1,234 in 10 lines"):
        checked(tmp_path, text_of([["size", "kind"], *rows], separator))
    rows = [["1,234", "a"], ["0,5", "b"]] * 10
    data, _ = checked(tmp_path, text_of([["size", "kind"], *rows], separator))
    assert data["size"].tolist() == [1.234, 0.5] * 10
    rows = [["1.234,5", "a"], ["0,5", "b"]] * 10
    with pytest.raises(BadData, match="write them like 1234"):
        checked(tmp_path, text_of([["size", "kind"], *rows], separator))


def test_marks_for_a_gap_are_gaps_among_numbers_only(tmp_path: Path) -> None:
    rows = [[str(i), "NA" if i % 2 else "BR", "ab"[i % 2]] for i in range(0, 60, 2)] * 2
    rows += [[mark, "BR", "a"] for mark in ("?", "-", "NA", "nan", " ", "None", "")]
    rows += [["1", "NA", "b"]] * 3
    data, summary = checked(tmp_path, text_of([["size", "country", "kind"], *rows]))
    assert data["size"].isna().sum() == summary["gaps"]["size"] == 7
    assert set(data["country"]) == {"BR", "NA"}
    assert "Column 'size' has 7 gaps, which the model fills." in notes(data, summary)


@pytest.mark.parametrize(
    "index", [range(20), range(1, 21), range(0, 60, 3), [*"abcdefghijklmnopqrst"]]
)
def test_a_first_column_that_is_an_index_without_a_name_is_left_out(
    index: Sequence[Any], tmp_path: Path
) -> None:
    rows = [[index[i], i % 3, "ab"[i % 2]] for i in range(20)]
    data, summary = checked(tmp_path, text_of([["", "size", "kind"], *rows]))
    assert data.columns.tolist() == ["size", "kind"]
    [note] = notes(data, summary)
    assert note == "Column '' is left out: it has no name, and differs in each row."
    with pytest.raises(BadData, match="column 1 has no name"):
        checked(tmp_path, text_of([["", "size", "kind"], *rows, rows[0]]))


def test_equal_letters_make_one_class(tmp_path: Path) -> None:
    rows = [["1", "café"], ["2", "cafe\u0301"], ["3", "chá"]] * 10
    data, _ = checked(tmp_path, text_of([["size", "espe\u0301cie"], *rows]), target_col="espécie")
    assert data["espécie"].unique().tolist() == ["café", "chá"]


def test_a_column_that_would_be_taken_for_a_class_is_refused(tmp_path: Path) -> None:
    text = text_of([["0", "0 (class)", "kind"], *[["5", "1", "0"], ["6", "2", "1"]] * 10])
    with pytest.raises(BadData, match="is called like a class: rename it"):
        checked(tmp_path, text)


# ---- what is left out


def test_columns_that_are_named_are_left_out(project: Path, command: Command) -> None:
    rows = [[i, "ab"[i % 2], i % 5, "ab"[i % 2]] for i in range(40)]
    text = text_of([["id", "answer", "a,b", "kind"], *rows])
    data, summary = checked(project, text, drop_cols=["id", "answer"])
    assert data.columns.tolist() == ["a,b", "kind"]
    assert summary["columns_left_out"] == dict.fromkeys(["id", "answer"], "drop_cols names it")
    for names, sentence in (
        (["x"], "there is no column 'x'; there are 'id', 'answer', 'a,b', 'kind'"),
        (["kind"], "drop_cols names the target column 'kind'"),
        (["id", "answer", "a,b"], "it has no column other than 'kind'; 'id': drop_cols names it"),
    ):
        with pytest.raises(BadData, match=sentence):
            checked(project, text, drop_cols=names)


LEFT_OUT = {
    "dates": (lambda i: f"2021-{i % 12 + 1:02}-{i % 28 + 1:02}", "it holds dates"),
    "dates as in Brazil": (lambda i: f"{i % 28 + 1}/{i % 12 + 1}/2021", "it holds dates"),
    "times": (lambda i: f"2021-01-{i % 28 + 1:02}T10:00:00", "it holds dates"),
    "names": (lambda i: f"Person {i}", "40 of its 40 texts are different"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_column_that_is_no_category_is_left_out_and_named(name: str, tmp_path: Path) -> None:
    make, reason = LEFT_OUT[name]
    rows = [[make(i), i % 7, "ab"[i % 2]] for i in range(40)]
    data, summary = checked(tmp_path, text_of([["when", "size", "kind"], *rows]))
    assert data.columns.tolist() == ["size", "kind"]
    [note] = notes(data, summary)
    assert note.startswith("Column 'when' is left out:")
    assert reason in note


def test_dates_and_truths_of_a_parquet_file_are_columns_like_the_others() -> None:
    table = pd.DataFrame(
        {
            "when": pd.date_range("2021-01-01", periods=40),
            "fresh": [True, False] * 20,
            "size": pd.Series(range(40), dtype="Int64").mask(pd.Series(range(40)) % 7 == 0),
            "kind": pd.Categorical(["a", "b"] * 20),
        }
    )
    data, summary = check_table(table, "kind", 0.5)
    assert summary["columns"] == {"fresh": "text", "size": "number"}
    assert list(summary["columns_left_out"]) == ["when"]
    assert data["fresh"].unique().tolist() == ["True", "False"]
    assert data["size"].dtype == "float64"


def test_a_column_with_one_value_or_that_counts_the_rows_is_named(tmp_path: Path) -> None:
    rows = [[i + 1, "x", 3, i % 4, "ab"[i % 2]] for i in range(40)]
    header = ["Id", "same", "three", "size", "kind"]
    data, summary = checked(tmp_path, text_of([header, *rows]))
    assert data.columns.tolist() == header
    assert notes(data, summary) == [
        "Column 'Id' counts the rows: drop_cols=Id leaves it out.",
        "Column 'same' has only one value: drop_cols=same leaves it out.",
        "Column 'three' has only one value: drop_cols=three leaves it out.",
    ]


# ---- the target


def test_rows_without_a_class_are_refused_or_dropped(tmp_path: Path) -> None:
    rows = [[i, ["a", "b", ""][i % 3]] for i in range(30)]
    text = text_of([["size", "kind"], *rows])
    with pytest.raises(BadData) as caught:
        checked(tmp_path, text)
    assert caught.value.problems == [
        "column 'kind' is empty in 10 lines (4, 7, 10, 13, 16, …); "
        "unlabelled=drop leaves such rows out"
    ]
    data, summary = checked(tmp_path, text, unlabelled="drop")
    assert len(data) == 20
    assert (summary["rows"], summary["rows_left_out"]) == (30, 10)
    assert "Rows without a class, left out: 10 of 30." in notes(data, summary)


def test_many_classes_with_a_single_row_are_one_sentence(tmp_path: Path) -> None:
    rows = [[i, "a" if i < 30 else f"c{i}"] for i in range(60)]
    with pytest.raises(BadData) as caught:
        checked(tmp_path, text_of([["size", "kind"], *rows]))
    [problem, *_] = caught.value.problems
    assert "has a single row of the class 'c30', 'c31'" in problem
    assert "in 30 lines (32, 33, 34, 35, 36, …)" in problem
    assert len(problem) < 500


@pytest.mark.parametrize("prices", [10, 300])
def test_a_target_of_numbers_with_fractions_is_told_from_classes(
    prices: int, tmp_path: Path
) -> None:
    rows = [[i, f"{i % prices + 0.99:.2f}"] for i in range(600)]
    with pytest.raises(BadData) as caught:
        checked(tmp_path, text_of([["size", "kind"], *rows]))
    [problem] = caught.value.problems
    assert f"has {prices} different numbers with fractions" in problem
    assert "this project predicts classes" in problem


# ---- the flow, the report


@pytest.mark.usefixtures("prefect_server")
def test_a_run_below_the_least_accuracy_fails_after_its_report_and_is_not_the_latest(
    project: Path, command: Command
) -> None:
    good = main_flow(min_accuracy=0.8)
    iris = pd.read_csv(project / "data" / "raw" / "iris.csv")
    spoilt = iris.assign(species=iris["species"].sample(frac=1, random_state=1).to_numpy())
    spoilt.to_csv(project / "data" / "raw" / "iris.csv", index=False)
    answer = command("run", "--param", "min_accuracy=0.8")
    assert answer.exit_code == 2
    assert " is below min_accuracy, 80.00%.\n" in answer.err
    [bad] = {path.name for path in (project / "reports").iterdir()} - {good}
    assert (project / "reports" / bad / "report.html").is_file()
    assert facts(project, bad)["state"] == "Failed"
    assert f"Model: {good}, trained on data/raw/iris.csv\n" in command("predict", *"1234").err


@pytest.mark.usefixtures("prefect_server")
def test_the_report_says_what_was_read_left_out_and_filled(project: Path, command: Command) -> None:
    rows = [
        ["?" if i == 3 else i % 9, "NA", f"Person {i}", "" if i == 5 else "aab"[i % 3]]
        for i in range(60)
    ]
    path = write(project, text_of([["size", "country", "name", "kind"], *rows]))
    params = {"raw_path": path, "target_col": "kind", "unlabelled": "drop", "drop_cols": "country"}
    answer = command(
        *(part for item in params.items() for part in ("--param", "=".join(map(str, item))))
    )
    assert answer.exit_code == 0, answer.err
    [page] = (project / "reports").glob("*/report.html")
    text = page.read_text("utf-8")
    assert "60 rows were read, 1 of them left out for want of a class" in text
    assert '<td style="text-align:left">country</td>' in text
    run = page.parent.name
    known = facts(project, run)
    assert known["data"]["gaps"] == {"size": 1}
    assert list(known["data"]["columns_left_out"]) == ["country", "name"]
    schema = json.loads((project / "models" / run / "get_schema.json").read_text("utf-8"))
    assert schema == {"classes": ["a", "b"], "features": {"size": {"kind": "number"}}}
    assert known["metrics"]["largest_class"] == pytest.approx(2 / 3, abs=0.05)
    assert set(known["metrics"]) == {
        "accuracy", "largest_class", "balanced_accuracy", "macro_f1", "roc_auc"
    }  # fmt: skip


def test_the_numbers_of_a_report_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score  # noqa: PLC0415

    generator = np.random.default_rng(0)
    for classes in (["a", "b"], ["a", "b", "c"]):
        truth = pd.Series(
            generator.choice(classes, 90, p=[0.8, *[0.2 / (len(classes) - 1)] * (len(classes) - 1)])
        )
        shares = generator.dirichlet(np.ones(len(classes)), 90)
        predictions = np.array(classes)[shares.argmax(axis=1)]
        metrics = report_on(predictions, truth, shares).metrics
        scores = shares[:, 1] if len(classes) == 2 else shares
        assert metrics == pytest.approx(
            {
                "accuracy": (predictions == truth).mean(),
                "largest_class": truth.value_counts(normalize=True).max(),
                "balanced_accuracy": balanced_accuracy_score(truth, predictions),
                "macro_f1": f1_score(truth, predictions, average="macro"),
                "roc_auc": roc_auc_score(truth, scores, multi_class="ovr"),
            }
        )

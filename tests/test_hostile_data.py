"""The data under any table that hypothesis writes: a sentence, or a model that can be used."""

from __future__ import annotations

import csv
import importlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PROJECT_FOLDER
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from template_copy import REPO

pytestmark = pytest.mark.slow

CELLS = [
    *(
        "",
        " ",
        "0",
        "1",
        "-1",
        "2.5",
        "1e3",
        "1e308",
        "-1e308",
        "1e999",
        "9" * 30,
        "9" * 400,
        "1e-400",
    ),
    *(
        "nan",
        "NaN",
        "NA",
        "null",
        "None",
        "inf",
        "-Infinity",
        "True",
        "FALSE",
        "0x10",
        "1_000",
        "1+2j",
    ),
    *("0,5", "1.000,5", "1,000.5", "50%", "R$ 1,00", "٣", "½", "2024-01-01", "01/02/2024", "12:00"),
    *(
        "=cmd|' /C calc'!A0",
        "@SUM(A1)",
        "+1",
        "-",
        "<script>alert(1)</script>",
        "![](http://evil/x)",
    ),
    *(
        "a",
        "b",
        "São Paulo",
        "🌸",
        "a\nb",
        'a"b',
        "a,b",
        "a;b",
        "a\tb",
        "\x1b[31m",
        "\ufeff",
        "\u202e",
        "x" * 999,
    ),
]
CELL = st.one_of(
    st.sampled_from(CELLS), st.floats().map(str), st.integers().map(str), st.text(max_size=5)
)
NAME = st.one_of(
    st.sampled_from(["a", "b", "species", "_set", "a.1", "", " ", "0", "run", "index"]), CELL
)


def seldom(draw: st.DrawFn) -> bool:
    """Return True once in twenty times or so."""
    return draw(st.integers(0, 19)) == 7  # hypothesis likes the ends of a range


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Return the bytes of a file: mostly a table that is good but for a few cells of it."""
    usual_names = ["a", "b", "length", "São Paulo", "_set", "0", "run", "index"]
    names = NAME if seldom(draw) else st.sampled_from(usual_names)
    columns = draw(st.lists(names, min_size=1, max_size=4, unique=not seldom(draw)))
    kinds = [draw(st.sampled_from(["number", "number", "text", "comma", "any"])) for _ in columns]
    classes = draw(st.lists(CELL, min_size=2, max_size=3))
    classes = [f"{name}{number}" for number, name in enumerate(classes)]  # is then no gap
    if seldom(draw):
        classes = draw(st.lists(CELL, min_size=1, max_size=3))
    rows = []
    for number in range(draw(st.integers(0 if seldom(draw) else 12, 40))):
        row = [draw(CELL) if kind == "any" else usual(kind, number) for kind in kinds]
        rows.append([*row, classes[number % len(classes)]])
    for _ in range(draw(st.integers(1, 3)) if rows and seldom(draw) else 0):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(CELL)
    text = io.StringIO()
    separator = draw(st.sampled_from(",|" if seldom(draw) else ",;;\t"))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    header = columns if seldom(draw) else [*columns, "species"]
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([header, *rows])
    encodings = ["utf-16", "latin-1", "utf-16-le"] if seldom(draw) else ["utf-8", "utf-8-sig"]
    content = text.getvalue().encode(draw(st.sampled_from(encodings)), "replace")
    return content[: draw(st.integers(0, len(content)))] if seldom(draw) else content


def usual(kind: str, number: int) -> str:
    """Return the cell of a column of some kind."""
    return {"number": f"{number * 0.5}", "comma": f"{number},5", "text": "xyz"[number % 3]}[kind]


@pytest.fixture(scope="module")
def modules() -> Any:
    """Return the modules of the project, from the template's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPO / PROJECT_FOLDER)
        names = ("flows.data_engineer", "flows.data_science", "ml.checks", "ml.data", "ml.report")
        return SimpleNamespace(
            **{name.rpartition(".")[2]: importlib.import_module(name) for name in names}
        )


def model_or_sentence(modules: Any, content: bytes, folder: Path) -> str:
    """Do with a file what the flows do, in the same order; return "a model" or the sentence."""
    path = folder / "raw.csv"
    path.write_bytes(content)
    engineer, science = modules.data_engineer, modules.data_science
    try:
        data, summary = modules.checks.check_table(modules.data.read_csv(path), "species", 0.3)
    except modules.data.BadData as error:
        return str(error)
    assert all(line.isprintable() for line in modules.checks.notes(data, summary))
    encoded = engineer.encode_categorical_columns.fn(data, "species")
    classes = engineer.get_classes.fn(data, "species")
    split = engineer.split_data.fn(encoded, 0.3, classes)
    model = science.train_model.fn(split["train_x"], split["train_y"])
    predictions = science.predict.fn(model, split["test_x"])
    assert set(predictions) <= set(classes)
    assert len(predictions) == len(split["test_x"]) > 0
    assert 0 <= science.report_accuracy.fn(predictions, split["test_y"]) <= 1
    return "a model"


def check(modules: Any, content: bytes, folder: Path) -> str:
    """Assert what is promised; return what came of it."""
    outcome = model_or_sentence(modules, content, folder)
    if outcome == "a model":
        return outcome
    first, *problems = outcome.splitlines()
    assert first.endswith("cannot be used:")
    assert problems
    assert all(problem.startswith("  - ") and problem.isprintable() for problem in problems)
    assert len(outcome) < 30_000
    return "a sentence"


PATIENT = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@settings(PATIENT, max_examples=100)
@example(content="a,species\n3,0\n3,1\n3,0\n3,1\n3,0\n3,1\n\u0663,0\n\u0663,1\n".encode())
@given(content=tables())
def test_any_table_gives_a_sentence_or_a_model(
    modules: Any, tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    event(check(modules, content, tmp_path_factory.getbasetemp()))


@pytest.mark.torture
@settings(PATIENT, derandomize=False, max_examples=10_000)
@given(content=tables())
def test_a_great_many_tables_give_a_sentence_or_a_model(
    modules: Any, tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    event(check(modules, content, tmp_path_factory.getbasetemp()))


@settings(PATIENT, max_examples=300)
@given(content=st.binary(max_size=400))
def test_any_bytes_give_a_sentence(
    modules: Any, tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    check(modules, content, tmp_path_factory.getbasetemp())


@settings(PATIENT, max_examples=500)
@given(
    name=st.one_of(
        st.sampled_from(CELLS), st.text(max_size=30).filter(lambda text: "\0" not in text)
    )
)
def test_the_dashboard_takes_no_class_for_markdown(modules: Any, name: str) -> None:
    text = f"| class |\n| --- |\n| {modules.report._literal(name)} |\n"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    cell = next(t for t in reversed(tokens) if t.type == "inline")
    assert {child.type for child in cell.children or []} <= {"text", "text_special"}
    shown = "".join(child.content for child in cell.children or [])
    assert shown == " ".join(name.split())

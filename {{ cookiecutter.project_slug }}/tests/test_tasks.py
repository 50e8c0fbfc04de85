"""A task is a function: `task.fn` calls it without Prefect, so its tests are quick."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.data_engineer import check_data, encode_categorical_columns, get_classes, split_data
from flows.data_science import predict, report_accuracy, train_model
from ml.data import BadData

FLOWERS = pd.DataFrame(
    {
        "petal_length": [1.4, 1.3, 1.5, 1.6, 4.7, 4.5, 4.9, 4.6],
        "petal_width": [0.2, 0.2, 0.3, 0.2, 1.4, 1.5, 1.5, 1.3],
        "species": ["setosa"] * 4 + ["versicolor"] * 4,
    }
)


def test_the_classes_are_sorted_names() -> None:
    assert get_classes.fn(FLOWERS[::-1], "species") == ["setosa", "versicolor"]


def test_each_class_becomes_a_column_of_0_and_1() -> None:
    encoded = encode_categorical_columns.fn(FLOWERS, "species")
    assert encoded["setosa"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert (encoded["setosa"] + encoded["versicolor"] == 1).all()
    assert "species" not in encoded


def test_a_split_keeps_each_row_once_and_each_class_in_both_sets() -> None:
    encoded = encode_categorical_columns.fn(FLOWERS, "species")
    split = split_data.fn(encoded, 0.5, ["setosa", "versicolor"])
    rows = [*split["train_x"].index, *split["test_x"].index]
    assert sorted(rows) == list(FLOWERS.index)
    for labels in (split["train_y"], split["test_y"]):
        assert labels.tolist() == FLOWERS["species"][labels.index].tolist()
        assert labels.value_counts().tolist() == [2, 2]


def test_the_same_seed_gives_the_same_split() -> None:
    encoded = encode_categorical_columns.fn(FLOWERS, "species")
    one, same, other = (
        split_data.fn(encoded, 0.5, ["setosa", "versicolor"], seed)["test_x"] for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, same)
    assert not one.index.equals(other.index)


def test_a_model_predicts_the_names_of_the_classes() -> None:
    features, species = FLOWERS.drop(columns="species"), FLOWERS["species"]
    model = train_model.fn(features, species)
    assert predict.fn(model, features).tolist() == species.tolist()


def test_the_accuracy_is_the_share_of_right_predictions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    predictions = np.array(["setosa", "setosa", "versicolor"])
    truth = pd.Series(["setosa", "versicolor", "versicolor"])
    assert report_accuracy.fn(predictions, truth) == pytest.approx(2 / 3)
    assert capsys.readouterr().out == "Model accuracy on test set: 66.67\n"


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("petal_length", "wide", "line 2, column 'petal_length', 'wide' is not a number"),
        ("petal_width", float("inf"), "line 2, column 'petal_width', 'inf' is not a number"),
        ("species", None, "column 'species' is empty in line 2"),
    ],
)
def test_bad_data_is_refused_with_its_line_and_column(
    column: str, value: Any, problem: str
) -> None:
    data = FLOWERS.astype({column: "object"})
    data.loc[0, [column]] = value
    with pytest.raises(BadData, match=problem):
        check_data.fn(data, "species", 0.5)

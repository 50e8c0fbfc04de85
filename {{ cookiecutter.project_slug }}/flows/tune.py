"""The flow `tune`: tries many models on a split, one task for each, and keeps the best."""

import json
from statistics import mean, pstdev
from typing import Any

from prefect import flow, task, unmapped
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.futures import as_completed
from scipy.stats import loguniform
from sklearn.model_selection import ParameterSampler, StratifiedKFold, cross_val_score

from flows import UserError, reports, shown
from flows.caching import BY_CONTENT
from flows.data_engineer import INTERIM, PROCESSED
from flows.data_science import (
    class_names,
    predict,
    read_split,
    report_accuracy,
    split_of,
    train_model,
    untrained_model,
    write_report,
)
from flows.engines import on_engine, task_runner
from flows.parameters import Candidates, Checkpoint, Folds, MaxIter, RunName, SearchSeed
from flows.records import record_key
from flows.retention import remove_old_runs
from flows.runs import begin_run, checked_run, current_run, finish_run

# What is tried: parameters of the pipeline in `untrained_model`, by their names in scikit-learn.
SEARCHED = {
    "classifier__C": loguniform(1e-3, 1e3),
    "classifier__class_weight": [None, "balanced"],
    "columns__numbers__simpleimputer__strategy": ["mean", "median"],
}


class _PlaceInGraph(dict[str, Any]):
    """Stands for a split's place while the graph is drawn: each part of it is `find_split`'s."""

    def __getitem__(self, part: str) -> Any:
        return self


@task(viz_return_value=_PlaceInGraph(any_part=None))
def find_split(checkpoint: str, folds: int) -> dict[str, str]:
    """Return the `run` whose split is searched on, and the `sha256` of its file.

    The candidates get these two, not the rows: each reads the rows where it runs. Raises
    `UserError` where a class has fewer rows than there are folds.
    """
    found = PROCESSED.read(location=split_of(checkpoint))
    rows_of_class = found.value["train_y"].sum()
    if rows_of_class.min() < folds:
        raise UserError(
            f"folds={folds} is not allowed here: the class {shown(rows_of_class.idxmin())} has "
            f"only {rows_of_class.min()} rows in the training set."
        )
    record = json.loads(PROCESSED.get(record_key(found.location)))
    return {"run": found.location.partition("/")[0], "sha256": record["sha256"]}


@task(
    task_run_name="evaluate-C={candidate[classifier__C]}",
    result_storage=INTERIM,
    result_serializer="json-value",
    cache_policy=BY_CONTENT.configure(key_storage=INTERIM.records),
)
def evaluate(
    candidate: dict[str, Any], split: dict[str, str], folds: int, seed: int, max_iter: int
) -> list[float]:
    """Return a candidate's accuracy (0 to 1) on each fold of the training set, trained on the rest.

    Each class has the same share in every fold.
    """
    rows = PROCESSED.read(location=split_of(split["run"])).value
    train_x, classes = rows["train_x"], class_names(rows["train_y"])
    model = untrained_model(train_x, 1.0, max_iter, candidate)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_score(model, train_x, classes, cv=parts, error_score="raise").tolist()


@task
def choose_best(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the candidate of the highest accuracy; of equal ones, that of the smallest C.

    `table` has a row for each candidate, as `reports.write_search` takes it. Raises
    `RuntimeError` where all have failed.
    """
    rows = [row for row in table if row["accuracy"] is not None]
    if not rows:
        raise RuntimeError(f"no candidate could be evaluated: {table[0]['error']}")
    best = min(rows, key=lambda row: (-row["accuracy"], row["classifier__C"]))
    return {name: best[name] for name in SEARCHED}


@task
def write_search(table: list[dict[str, Any]], run: str) -> None:
    """Write the table and the picture of a search to `reports/<run>/`, and show the table."""
    reports.write_search(table, list(SEARCHED), run)


def draw_candidates(number: int, seed: int) -> list[dict[str, Any]]:
    """Return candidates, drawn at random; more of them begin with the same ones."""
    drawn = ParameterSampler(SEARCHED, number, random_state=seed)
    return [{**one, "classifier__C": float(f"{one['classifier__C']:.4g}")} for one in drawn]


def search(candidates: list[dict[str, Any]], *common: Any) -> Any:
    """Evaluate candidates on the engine, and print each as it ends; return a row for each.

    A candidate that fails has an `error` in its row, and the others go on.
    """
    if FlowRunContext.get() is None:  # the graph is drawn, for which Prefect knows no `map`
        return evaluate(candidates[0], *common)
    table = [{**one, "accuracy": None, "std": None, "error": None} for one in candidates]
    progress: Any = create_progress_artifact(0.0, key="search", description="Candidates evaluated")
    futures = evaluate.map(candidates, *map(unmapped, common))
    best = {"accuracy": -1.0}
    for done, future in enumerate(as_completed(futures), 1):
        row = table[futures.index(future)]
        try:
            scores = future.result()
            row.update(accuracy=mean(scores), std=pstdev(scores))
        except Exception as error:  # of any kind: a worker may have died, too
            row["error"] = f"{type(error).__name__}: {error}"
        best = max(best, row, key=lambda one: -1.0 if one["accuracy"] is None else one["accuracy"])
        said = row["error"] or f"{row['accuracy']:.2%} (best so far {best['accuracy']:.2%})"
        print(f"{done}/{len(futures)} {in_words(candidates[futures.index(future)])}: {said}")
        update_progress_artifact(progress, 100 * done / len(futures))
    return table


def in_words(candidate: dict[str, Any]) -> str:
    """Return a candidate as a person writes it, such as C=0.5, class_weight=None."""
    return ", ".join(f"{name.rpartition('__')[2]}={value}" for name, value in candidate.items())


@flow(
    name="tune",
    task_runner=task_runner(),
    log_prints=True,
    on_completion=[finish_run, remove_old_runs],
    on_failure=[finish_run, remove_old_runs],
    on_crashed=[finish_run],
)
def tune(
    checkpoint: Checkpoint = "latest",
    candidates: Candidates = 20,
    folds: Folds = 5,
    seed: SearchSeed = 42,
    max_iter: MaxIter = 200,
    run: RunName = None,
) -> str:
    """Find good parameters by cross-validation, train and evaluate a model; return the run's name.

    The test set has no part in the choice.
    """
    begin_run()
    found = find_split(checkpoint, folds)
    split = read_split(found["run"])
    table = search(draw_candidates(candidates, seed), found, folds, seed, max_iter)
    write_search(table, current_run())
    best = choose_best(table)
    model = on_engine(train_model, split["train_x"], split["train_y"], 1.0, max_iter, best)
    predictions = on_engine(predict, model, split["test_x"])
    report_accuracy(predictions, split["test_y"])
    write_report(predictions, split["test_y"], current_run())
    return checked_run()

"""The flow `tune`: tries many models on a split, one task for each, and keeps the best."""

from statistics import mean, pstdev
from typing import Any

import pandas as pd
from prefect import flow, task, unmapped
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.futures import as_completed

from flows.data_engineer import INTERIM, PROCESSED
from flows.data_science import read_split, train_and_report
from flows.parameters import Candidates, Checkpoint, Folds, SearchSeed
from ml.model import check_folds, cross_validate, draw_candidates
from ml.report import make_search_report
from runtime import UserError, current_run, in_run_folder, publish_report, task_runner, update_run


@task(result_storage=INTERIM, result_serializer="json-value", cache_policy=INTERIM.by_content)
def evaluate(
    candidate: dict[str, Any], source: dict[str, str], folds: int, seed: int
) -> list[float]:
    """Return a candidate's accuracy (0 to 1) on each fold of the training set.

    `source` has the `run` whose rows are read here, perhaps on another machine. Their `sha256` is
    not used: by it, `by_content` sees that a run of the same name has other rows.
    """
    rows = PROCESSED.read(location=f"{source['run']}/split_data").value
    return cross_validate(rows["train_x"], rows["train_y"], candidate, folds, seed)


@task
def choose_best(candidates: list[dict[str, Any]], table: pd.DataFrame) -> dict[str, Any]:
    """Return the most accurate candidate, the first of equals; raise `UserError` if all failed."""
    if table["accuracy"].isna().all():
        raise UserError(f"No candidate could be evaluated: {table['error'].iloc[0]}")
    return candidates[int(table["accuracy"].argmax())]


@task
def write_search(table: pd.DataFrame) -> None:
    """Write the table and the picture of a search to `reports/<run>/`, and show the table."""
    publish_report(make_search_report(table), key="search")


def search(
    candidates: list[dict[str, Any]], source: dict[str, str], folds: int, seed: int
) -> pd.DataFrame:
    """Evaluate the candidates in parallel; return a row for each, with an `error` if it failed."""
    futures = evaluate.map(candidates, unmapped(source), unmapped(folds), unmapped(seed))
    progress: Any = create_progress_artifact(0.0, key="search", description="Candidates evaluated")
    rows = [{**candidate, "accuracy": None, "std": None, "error": None} for candidate in candidates]
    for done, future in enumerate(as_completed(futures), 1):
        number = futures.index(future)  # they are done in any order
        try:
            scores = future.result()
            rows[number].update(accuracy=mean(scores), std=pstdev(scores))
            outcome = f"{mean(scores):.2%}"
        except Exception as error:  # of any kind: a worker may have died, too
            outcome = f"{type(error).__name__}: {error}"
            rows[number].update(error=outcome)
        print(f"{done}/{len(futures)} {candidates[number]}: {outcome}")
        update_progress_artifact(progress, 100 * done / len(futures))
    return pd.DataFrame(rows).astype({"accuracy": "float64", "std": "float64"})


@flow(name="tune", log_prints=True, task_runner=task_runner())
@in_run_folder
def tune(
    checkpoint: Checkpoint = "latest",
    candidates: Candidates = 20,
    folds: Folds = 5,
    seed: SearchSeed = 42,
) -> str:
    """Find good parameters by cross-validation, train and evaluate a model; return the run's name.

    The test set has no part in the choice.
    """
    split = read_split(checkpoint)
    task(check_folds)(split["train_y"], folds)
    drawn = draw_candidates(candidates, seed)
    source = {"run": split["run"], "sha256": split["sha256"]}
    table = search(drawn, source, folds, seed)
    write_search(table)
    best = choose_best(drawn, table)
    update_run(model_params=best)
    train_and_report(split, best)
    return current_run()

"""The flow `main-flow`: `data-engineer`, and when it has succeeded `data-science` on its output."""

from pathlib import Path
from typing import Any

import yaml
from prefect import flow
from prefect.deployments import run_deployment

from flows.data_engineer import data_engineer
from flows.data_science import data_science
from flows.parameters import (
    Deployed,
    DropCols,
    MinAccuracy,
    ModelParams,
    RawPath,
    Seed,
    TargetCol,
    TestDataRatio,
    Unlabelled,
)
from runtime import UserError, current_run, in_run_folder


@flow(name="main-flow", log_prints=True)
@in_run_folder
def main_flow(
    raw_path: RawPath = "data/raw/iris.csv",
    target_col: TargetCol = "species",
    test_data_ratio: TestDataRatio = 0.2,
    seed: Seed = 42,
    drop_cols: DropCols = (),
    unlabelled: Unlabelled = "refuse",
    model_params: ModelParams = None,
    min_accuracy: MinAccuracy = 0,
    deployed: Deployed = False,
) -> str:
    """Prepare the data, then train on exactly that split; return the run's name."""
    data: dict[str, Any] = {
        "raw_path": raw_path,
        "target_col": target_col,
        "test_data_ratio": test_data_ratio,
        "seed": seed,
        "drop_cols": drop_cols,
        "unlabelled": unlabelled,
    }
    model: dict[str, Any] = {"model_params": model_params, "min_accuracy": min_accuracy}
    if deployed:
        run_and_wait("data-engineer", **data)
        run_and_wait("data-science", checkpoint=current_run(), **model)
    else:
        checkpoint = data_engineer(**data)  # as `current_run()`: the parts share its folder
        data_science(checkpoint, **model)
    return current_run()


def run_and_wait(name: str, **parameters: Any) -> None:
    """Run a flow's deployment in this run, once it is served; raise `UserError` if it fails."""
    # Each deployment has the name of the project.
    described = (Path(__file__).parents[1] / "prefect.yaml").read_text(encoding="utf-8")
    deployment = f"{name}/{yaml.safe_load(described)['name']}"
    flow_run: Any = run_deployment(deployment, parameters=parameters)
    if not flow_run.state.is_completed():
        raise UserError(f"{deployment} did not succeed: {flow_run.state.message}")

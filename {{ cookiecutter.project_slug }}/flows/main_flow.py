"""The flow `main-flow`: `data-engineer`, and when it has succeeded `data-science` on its output."""

from typing import Any

from prefect import flow
from prefect.deployments import run_deployment

from flows import UserError
from flows.data_engineer import data_engineer
from flows.data_science import data_science
from flows.parameters import (
    Deployed,
    InverseRegularization,
    MaxIter,
    RawPath,
    Seed,
    TargetCol,
    TestDataRatio,
)
from flows.retention import remove_old_runs
from flows.runs import current_run, finish_run, wait_for_end


@flow(
    name="main-flow",
    log_prints=True,
    on_completion=[finish_run, remove_old_runs],
    on_failure=[finish_run, remove_old_runs],
    on_crashed=[finish_run],
)
def main_flow(
    raw_path: RawPath = "data/raw/iris.csv",
    target_col: TargetCol = "species",
    test_data_ratio: TestDataRatio = 0.2,
    seed: Seed = 42,
    C: InverseRegularization = 1.0,
    max_iter: MaxIter = 200,
    deployed: Deployed = False,
) -> str:
    """Prepare the data, then train on exactly that; return the run's name."""
    run = current_run()
    if not deployed:
        checkpoint = data_engineer(raw_path, target_col, test_data_ratio, seed, run)
        return data_science(checkpoint, C, max_iter, run)

    run_and_wait(
        "data-engineer/iris",
        run,
        raw_path=raw_path,
        target_col=target_col,
        test_data_ratio=test_data_ratio,
        seed=seed,
    )
    run_and_wait("data-science/iris", run, checkpoint=run, C=C, max_iter=max_iter)
    return run


def run_and_wait(deployment: str, run: str, **parameters: Any) -> None:
    """Run a deployment to its end, as part of this run; raise `UserError` if it fails."""
    flow_run: Any = run_deployment(deployment, parameters={**parameters, "run": run})
    wait_for_end(run, flow_run.id)
    if not flow_run.state.is_completed():
        raise UserError(f"{deployment} did not succeed: {flow_run.state.message}")

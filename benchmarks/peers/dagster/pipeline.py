"""Materializes the assets in this process, recorded in the instance of DAGSTER_HOME."""

import dagster as dg
from definitions import ASSETS, RESOURCES

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        dg.materialize(ASSETS, resources=RESOURCES, instance=instance)

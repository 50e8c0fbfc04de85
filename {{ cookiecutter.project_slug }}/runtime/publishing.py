"""Writes a report: to `reports/<run>/`, to run.json, and to the run's page in the dashboard."""

from typing import TYPE_CHECKING, Any, Protocol

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from runtime.runs import current_run, update_run
from runtime.storage import storage

if TYPE_CHECKING:
    import pandas as pd


class Report(Protocol):
    """The contents of a report: files by name, metrics by name, a table, a text in Markdown."""

    files: dict[str, bytes]
    metrics: dict[str, float]
    table: "pd.DataFrame"
    markdown: str


def publish_report(report: Report, key: str = "report") -> None:
    """Write the files of a report to `reports/<run>/`, its metrics to run.json, and show the rest.

    The dashboard shows the table as the artifact `<key>-table`, and the Markdown as `<key>`.
    """
    run, files = current_run(), storage("reports")
    for name, content in report.files.items():
        files.put(f"{run}/{name}", content)
    if report.metrics:
        update_run(metrics=report.metrics)
    rows: Any = report.table.to_dict(orient="records")
    create_table_artifact(rows, key=f"{key}-table", description=f"Run {run}")
    if report.markdown:
        where = f"The same as files: `{files.location(run)}`"
        text = f"{report.markdown}\n\n{where}"
        create_markdown_artifact(text, key=key, description=f"Run {run}")

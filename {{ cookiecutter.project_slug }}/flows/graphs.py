"""Draws the graph of a flow from the flow itself, without running any task."""

import graphviz
from prefect import Flow
from prefect.utilities.visualization import (
    TaskVizTracker,
    build_mermaid_dependencies,
    build_task_dependencies,
)

from flows import ROOT
from flows.places import write_whole


def draw(flow: Flow[..., str]) -> str:
    """Write `reports/graphs/<flow>.mmd`, and .svg and .png where Graphviz is installed.

    Returns the Mermaid text, and where the files are.
    """
    with TaskVizTracker() as tracker:
        flow.fn()
    for task in tracker.tasks:
        task.name = task.name.removesuffix("-0")  # the number counts the calls of one task
        task.upstream_tasks = list(dict.fromkeys(task.upstream_tasks))
    mermaid = build_mermaid_dependencies(tracker)
    path = ROOT / "reports" / "graphs" / f"{flow.name}.mmd"
    write_whole(path, f"{mermaid}\n".encode())
    paths = [path]
    try:
        graph = build_task_dependencies(tracker)
        for kind in ("svg", "png"):
            paths.append(path.with_suffix(f".{kind}"))
            write_whole(paths[-1], graph.pipe(format=kind))
    except graphviz.ExecutableNotFound:
        paths = [path]
    lines = [mermaid, "", *(str(path.relative_to(ROOT)) for path in paths)]
    if len(paths) == 1:
        lines.append("For SVG and PNG too, install Graphviz: https://graphviz.org/download")
    return "\n".join(lines)

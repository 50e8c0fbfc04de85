"""Draws the graph of a flow from the flow itself, without running any task."""

from subprocess import CalledProcessError

import graphviz
from prefect import Flow
from prefect.utilities.visualization import (
    TaskVizTracker,
    VisualizationUnsupportedError,
    VizTask,
    build_mermaid_dependencies,
    build_task_dependencies,
)

from runtime import settings
from runtime.errors import UserError

# While a flow is drawn, a task returns a VizTask. A part of it, such as `split["train_x"]`, comes
# from the same task; without this, Prefect refuses to draw a flow that uses one.
setattr(VizTask, "__getitem__", lambda self, part: self)  # noqa: B010  (for the type checker)


def draw(flow: Flow[..., str]) -> str:
    """Write `reports/graphs/<flow>.mmd`, and .svg and .png where Graphviz is installed.

    Returns the Mermaid text and the paths of the files. Raises `UserError` for a flow with parallel
    tasks, which Prefect cannot draw.
    """
    try:
        with TaskVizTracker() as tracker:
            flow.fn()
    except VisualizationUnsupportedError as error:
        raise UserError(f"Prefect cannot draw the flow {flow.name}: {error}") from None
    for task in tracker.tasks:  # one arrow, even if a task takes two parts of another's result
        task.upstream_tasks = list(dict.fromkeys(task.upstream_tasks))
    mermaid = build_mermaid_dependencies(tracker)
    path = settings.ROOT / "reports" / "graphs" / f"{flow.name}.mmd"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{mermaid}\n", encoding="utf-8")
    paths, hint = [path], []
    try:
        graph = build_task_dependencies(tracker)
        for kind in ("svg", "png"):
            picture = graph.pipe(format=kind)
            paths.append(path.with_suffix(f".{kind}"))
            paths[-1].write_bytes(picture)
    except graphviz.ExecutableNotFound:
        hint = ["For SVG and PNG too, install Graphviz: https://graphviz.org/download"]
    except (OSError, CalledProcessError):
        hint = ["Graphviz is installed but cannot draw: try `dot -c`, or install it again."]
    return "\n".join(
        [mermaid, "", *(str(path.relative_to(settings.ROOT)) for path in paths), *hint]
    )

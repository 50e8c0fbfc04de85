"""The one entry to this project: `python main.py` runs `main-flow`; `--help` lists the rest."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from flows import CONSOLE_HANDLER, ROOT, UserError, keep_runs, without_password
from flows.engines import check_engine
from flows.places import check_outputs

try:
    from cyclopts import App, CycloptsError, Parameter
except ModuleNotFoundError:
    python = Path(".venv", "Scripts" if os.name == "nt" else "bin", "python")
    sys.exit(
        f"Error: this Python ({sys.executable}) does not have the project's packages.\n"
        f"Use `uv run main.py`; or `{python} main.py`, when they are installed as README.md says."
    )

if TYPE_CHECKING:
    from prefect import Flow

    from flows.server import Server

# Nothing heavy is imported here: `--help` and a mistyped parameter answer at once.
FLOWS = {
    "main-flow": "flows.main_flow:main_flow",
    "data-engineer": "flows.data_engineer:data_engineer",
    "data-science": "flows.data_science:data_science",
    "tune": "flows.tune:tune",
}
FlowName = Literal["main-flow", "data-engineer", "data-science", "tune"]
STARTED_IN = Path.cwd()

app = App(
    name="main.py",
    help="Iris with Prefect: prepare the data, train a model, report how good it is.",
    help_epilogue="Any command with --debug shows the whole traceback of an error.",
    version_flags=[],
)
app.command("lessons.workshop.commands:app", name="lessons", help="Learn Prefect step by step.")


@app.default
@app.command
def run(
    flow: FlowName = "main-flow",
    *,
    param: Annotated[list[str] | None, Parameter(negative="")] = None,
    param_file: Path | None = None,
    plain_prefect: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run a flow once and say what came of it.

    Parameters
    ----------
    flow
        Flow to run.
    param
        One parameter as name=value, as often as you like; wins over the file.
    param_file
        JSON file with parameters, such as params.json.
    plain_prefect
        Leave the server to Prefect, and take none of this project's short cuts: to compare.
    """
    from flows.parameters import read_parameters
    from flows.server import PLAIN, settings_for, use_server, wait_until_ready

    file = STARTED_IN / param_file if param_file else None
    parameters = read_parameters(flow, param or [], file)
    check_settings()
    last_words: list[str] = []
    # Python calls last what was registered first: when this is read, Prefect has sent its logs,
    # and the server has written them down.
    atexit.register(say_last, last_words)
    if plain_prefect:
        server, function = PLAIN, load(flow)
    else:
        with quick_imports():
            # It starts while this process imports; Prefect is imported when its address is known.
            server = use_server(meanwhile=lambda: import_those_there("pandas"))
            function = load(flow)
            load_what_tasks_import()
        check_outputs(ask=True)
        server = wait_until_ready(server)
    with settings_for(server):
        say_which_runs_were_killed()
        name = function(**parameters)
    from flows.runs import summary

    leads_nowhere = server.process or server == PLAIN  # this server ends with this run
    dashboard = "python main.py ui" if leads_nowhere else dashboard_of(server)
    last_words += ["", summary(name, dashboard), ""]


@app.command
def serve(
    *, every: int | None = None, cron: str | None = None, timezone: str | None = None
) -> None:
    """Serve the flows as deployments, with the dashboard, until Ctrl-C.

    Parameters
    ----------
    every
        Run main-flow every so many seconds.
    cron
        Run main-flow at these times, such as "0 6 * * *" for every day at six.
    timezone
        Time zone of --cron, such as America/Sao_Paulo; this machine's where it is left out.
    """
    server = start_dashboard()
    from flows.deployments import read_schedule, serve_flows

    schedule = read_schedule(every, cron, timezone)
    wait_for_dashboard(server)
    serve_flows(schedule)


@app.command
def ui(*, browser: bool = True) -> None:
    """Open the dashboard, where each flow can be run with other parameters, until Ctrl-C.

    Parameters
    ----------
    browser
        Open the page in the browser.
    """
    server = start_dashboard()
    from flows.deployments import serve_flows

    dashboard = wait_for_dashboard(server)
    if browser:
        import webbrowser

        webbrowser.open(dashboard)
    serve_flows(schedule=None)


@app.command
def visualize(flow: FlowName = "main-flow") -> None:
    """Draw the graph of a flow: as Mermaid text, and as SVG and PNG where Graphviz is installed.

    Parameters
    ----------
    flow
        Flow to draw.
    """
    from flows.graphs import draw

    print(draw(load(flow)))


@app.command
def predict(*values: str, csv: Path | None = None) -> None:
    """Predict the class of one row, or of each row of a CSV file, with the newest model.

    Parameters
    ----------
    values
        The row: one value for each feature, in the order of the training data.
    csv
        CSV file with a header that names the features.
    """
    from flows.models import predict_file, predict_row

    print(predict_file(STARTED_IN / csv) if csv else predict_row(list(values)))


@app.command
def doctor() -> None:
    """Check Python, packages, folders, port, Graphviz and a server start; say what to do."""
    from flows.doctor import examine

    if not examine():
        sys.exit(1)


def load(flow: str) -> "Flow[..., str]":
    """Return a flow by its name."""
    module, _, name = FLOWS[flow].partition(":")
    return getattr(import_module(module), name)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without looking for garbage: imports make many objects, and hardly any garbage."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def load_what_tasks_import() -> None:
    """Import what Prefect and the tasks would import later.

    What only the last tasks use is imported while the first ones wait for the server.
    """
    import_those_there("fastapi.encoders", "pandera.backends.pandas.builtin_checks")
    late = ("skops.io", "matplotlib.backends.backend_agg")
    threading.Thread(target=import_those_there, args=late, daemon=True).start()


def import_those_there(*modules: str) -> None:
    """Import modules; where one is missing, what needs it says so."""
    for module in modules:
        with suppress(ImportError):
            import_module(module)


def check_settings() -> None:
    """Raise `UserError` for a bad setting now, not when a run is over."""
    keep_runs()
    check_outputs()
    check_engine()


def start_dashboard() -> "Server":
    """Start this project's server with its pages; raise `UserError` where one already runs."""
    from flows.server import find, use_server

    check_settings()
    if running := find():
        raise UserError(f"This project's dashboard already runs: {running.ui_url}")
    return use_server(dashboard=True)


def wait_for_dashboard(server: "Server") -> str:
    """Return where the dashboard is when it can be opened, and say so."""
    from flows.server import wait_until_ready

    check_outputs(ask=True)
    wait_until_ready(server)
    say_which_runs_were_killed()
    dashboard = dashboard_of(server)
    print(f"Dashboard: {dashboard}   (Ctrl-C stops it)", flush=True)
    return dashboard


def dashboard_of(server: "Server") -> str:
    """Return the address of the pages; of a server of the user's, Prefect knows it."""
    if server.is_own:
        return server.ui_url
    from prefect.settings import PREFECT_UI_URL

    return without_password(str(PREFECT_UI_URL.value()))


def error_of_server(error: Exception) -> "UserError | None":
    """Return in one sentence what is wrong with a server that was asked; else None."""
    if "prefect" not in sys.modules:  # then none was asked
        return None
    from flows.server_errors import in_words

    return in_words(error)


def say_which_runs_were_killed() -> None:
    """Mark the runs that were killed, now that a server answers, and name them."""
    from flows.runs import mark_killed_runs

    for run in mark_killed_runs():
        print(f"The run {run} was killed: it is marked as Crashed.", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Run a command; return 0, 2 for input that cannot be used, 1 for a run that failed."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    os.chdir(ROOT)  # Prefect reads prefect.toml from the current folder
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".prefect" / "matplotlib"))
    # As in the workers of Dask and Ray: a model is the same to the last byte whatever the number of
    # processors, and is trained sooner where columns are few (2.6 s instead of 3.5 on 1.2e6 rows).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not debug:
        os.environ[CONSOLE_HANDLER] = "flows.logs.PlainConsoleHandler"
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a letter shows "?" instead.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError:
        return 2
    except BrokenPipeError:
        say_nothing_more()
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            raise
        error = error_of_server(error) or error
        if isinstance(error, UserError):
            print(without_password(f"Error: {error}"), file=sys.stderr)
            return error.exit_code
        print(without_password(f"Error: {type(error).__name__}: {error}"), file=sys.stderr)
        print("The run failed; --debug shows where.", file=sys.stderr)
        return 1
    return 0


def say_last(words: list[str]) -> None:
    """Print the last lines of a run, if there is somebody who reads them."""
    try:
        print(*words, sep="\n", end="", flush=True)
    except BrokenPipeError:
        say_nothing_more()


def say_nothing_more() -> None:
    """Give up stdout, since what read it (such as `head`) has read enough.

    Python would else complain at its end of what is still to be written.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end_at_once(exit_codes: list[int]) -> None:
    """End this process as soon as all is done and said.

    Python would take each of its objects apart, for 0.1 s, while a thread may still import what
    this run turned out not to need.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for code in exit_codes:
        os._exit(code)


if __name__ == "__main__":
    exit_codes: list[int] = []
    atexit.register(end_at_once, exit_codes)  # the first to be registered, the last to be called
    exit_codes.append(main(sys.argv[1:]))
    sys.exit(exit_codes[0])

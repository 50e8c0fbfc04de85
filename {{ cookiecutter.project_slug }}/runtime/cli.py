"""The commands of main.py, and the sentences that a person reads when one fails.

Nothing heavy is imported before it is needed: `--help` and a mistyped parameter answer at once.
"""

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from itertools import islice
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from runtime import settings
from runtime.discovery import FlowSource, find_flows
from runtime.errors import UserError, is_for_user, without_password

FLOWS = find_flows()

if TYPE_CHECKING:
    from runtime.server import Server

    FlowName = str
else:
    FlowName = Literal[tuple(FLOWS)]

MOST_SENTENCES = 20  # about texts that training never saw
TEXT_BROWSERS = ("www-browser", "links", "elinks", "lynx", "w3m")  # as webbrowser looks for them
try:
    STARTED_IN = Path.cwd()
except FileNotFoundError:
    STARTED_IN = Path("a folder that was deleted")

app = App(
    name="main.py",
    help="Data science with Prefect: prepare data, train a model, report how good it is.",
    help_epilogue="Any command with --debug shows the whole traceback of an error.",
    version_flags=[],
)
if (settings.ROOT / "lessons").is_dir():
    app.command("lessons.workshop.commands:app", name="lessons", help="Learn Prefect step by step.")


@app.default
@app.command
def run(
    flow: FlowName = "main-flow",
    *,
    param: Annotated[list[str] | None, Parameter(negative="")] = None,
    param_file: Path | None = None,
) -> None:
    """Run a flow once, and show its result.

    Parameters
    ----------
    flow
        Flow to run.
    param
        One parameter as name=value, as often as you like; wins over the file.
    param_file
        JSON file with parameters, such as params.json.
    """
    from runtime.parameters import read_parameters
    from runtime.server import settings_for, use_server, wait_until_ready

    source = find_flow(flow)
    file = STARTED_IN / param_file if param_file else None
    parameters = read_parameters(source, param or [], file)
    check_settings()
    last_lines: list[str] = []
    # Python calls the first registered function last: by then Prefect has sent its logs, and the
    # server has written them.
    if not settings.is_interactive():
        atexit.register(print_last, last_lines)
    gc.disable()  # imports make many objects, and hardly any garbage
    # The server starts while this process imports; Prefect is imported once its address is known.
    server = use_server(meanwhile=lambda: import_module("pandas"))
    # Another program, such as a debugger or profiler, would see nothing of a run in a fork.
    is_main_py = Path(*sys.orig_argv[1:2]).name == "main.py"
    if is_main_py and server.is_found and settings.warm():
        from runtime.server.warm import hand_over  # its imports exist on Linux only

        if (exit_code := hand_over("main", STARTED_IN)) is not None:
            sys.exit(exit_code)
    function = source.load()
    threading.Thread(target=import_late, daemon=True).start()
    gc.freeze()
    gc.enable()
    wait_until_ready(server)
    from runtime import runs

    with settings_for(server):
        runs.name_killed_runs()
        runs.run_to_end(function(**parameters))
    last_lines += ["", runs.summary(runs.last_run, dashboard_address()), ""]
    if settings.is_interactive():
        print_last(last_lines)


@app.command
def serve(
    *, every: int | None = None, cron: str | None = None, timezone: str | None = None
) -> None:
    """Serve the flows as deployments, with the dashboard, until Ctrl-C.

    Parameters
    ----------
    every
        Run main-flow at this interval, in seconds.
    cron
        Run main-flow at these times, such as "0 6 * * *" for every day at six.
    timezone
        Time zone of --cron, such as America/Sao_Paulo; this machine's by default.
    """
    server = start_dashboard()
    from runtime.deployments import read_schedule, serve_flows

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
    from runtime.deployments import serve_flows

    dashboard = wait_for_dashboard(server)
    if browser:
        open_browser(dashboard)
    serve_flows(schedule=None)


@app.command
def visualize(flow: FlowName = "main-flow") -> None:
    """Draw the graph of a flow: as Mermaid text, and as SVG and PNG where Graphviz is installed.

    Parameters
    ----------
    flow
        Flow to draw.
    """
    from runtime.graphs import draw

    print(draw(find_flow(flow).load()))


@app.command
def new_flow(name: str) -> None:
    """Write a flow with one task, and a test of it.

    Parameters
    ----------
    name
        Name of the flow, such as clean-data.
    """
    from runtime.scaffold import write_flow

    print(*write_flow(name, FLOWS), sep="\n")


@app.command
def predict(
    *values: str, csv: Path | None = None, run: str = "latest", proba: bool = False
) -> None:
    """Predict the class of one row, or of each row of a CSV file, with the newest model.

    Parameters
    ----------
    values
        The row: one value for each feature, in the order of the training data.
    csv
        CSV file with a header that names the features.
    run
        Run whose model predicts: latest, or a folder of models.
    proba
        Show the probability of each class.
    """
    # The only use of `ml` in this folder.
    import pandas as pd

    from ml.data import read_csv
    from ml.model import predict_rows, unknown_texts
    from runtime.history import read_runs
    from runtime.models import read_model

    if csv and values:
        raise UserError("Give the values of one row, or --csv, not both.")
    run, model = read_model(run)
    if not hasattr(model, "schema_"):
        raise UserError("The model is not one that `train` in ml/model.py returned.")
    raw_file = read_runs([run]).get(run, {}).get("raw_file", {}).get("path")
    print(f"Model: {run}" + (f", trained on {raw_file}" if raw_file else ""), file=sys.stderr)
    features = list(model.schema_["features"])
    if csv:
        rows = read_csv(STARTED_IN / csv)
    elif len(values) == len(features):
        rows = pd.DataFrame([values], columns=features)
    else:
        raise UserError(f"The model needs {len(features)} values: {', '.join(features)}.")
    answers = predict_rows(model, rows, all_probabilities=proba)
    for sentence in islice(unknown_texts(model, rows), MOST_SENTENCES):
        print(sentence, file=sys.stderr)
    if csv:
        table = rows.join(answers)
        separator = rows.attrs["separator"]
        print(table.to_csv(index=False, sep=separator, lineterminator="\n"), end="")
    elif proba:
        for name, share in zip(model.schema_["classes"], answers.iloc[0, 1:], strict=True):
            print(f"{share:.3f}  {name}")
    else:
        name, *shares = answers.iloc[0]
        print(name, *(f"(probability {share:.3f})" for share in shares))


@app.command
def runs(
    *run: str,
    sort: str | None = None,
    flow: str | None = None,
    last: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    csv: Annotated[bool, Parameter(negative="")] = False,
    html: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show the table of all runs, the newest first; or how two runs differ.

    Parameters
    ----------
    run
        Two runs to compare, each by its folder's name or a part that no other run has.
    sort
        Column or parameter to sort by, such as accuracy; the largest number comes first.
    flow
        Show the runs of this flow only.
    last
        Show only this many of the newest runs.
    csv
        Print the table as CSV.
    html
        Write the table as a page whose columns can be sorted.
    """
    from runtime.comparison import show_differences, show_runs

    if not run:
        show_runs(sort, flow, last, as_csv=csv, as_html=html)
    elif len(run) != 2:
        raise UserError("Give the names of two runs to compare, or none for the table of all.")
    elif sort or flow or last or csv or html:
        raise UserError("--sort, --flow, --last, --csv and --html are for the table of all runs.")
    else:
        show_differences(*run)


@app.command
def doctor() -> None:
    """Check Python, packages, folders, port, Graphviz and a server start; say what to do."""
    from runtime.doctor import examine

    if not examine():
        sys.exit(1)


def main(arguments: list[str]) -> int:
    """Run a command; return 0, 1 for a failed run, 2 for unusable input, 130 for Ctrl-C."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    os.chdir(settings.ROOT)  # Prefect reads prefect.toml from the current folder
    os.environ.setdefault("MPLCONFIGDIR", str(settings.ROOT / ".prefect" / "matplotlib"))
    # As in the workers of Dask and Ray: a model does not depend on the number of processors, and
    # trains faster on few columns (2.6 s instead of 3.5 on 1.2e6 rows).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not debug:
        os.environ[settings.CONSOLE_HANDLER] = "runtime.console.PlainConsoleHandler"
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:  # as with `pythonw` and task schedulers
            stream = Path(os.devnull).open("w")  # noqa: SIM115  (to the end)
            setattr(sys, name, stream)
        with suppress(AttributeError):  # a notebook's has no such method
            stream.reconfigure(errors="replace")  # "?" for a letter that a console lacks
    try:
        app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError:
        return 2
    except BrokenPipeError:
        discard_output()
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            raise
        return print_error(error)
    return 0


def run_command(arguments: list[str]) -> int:
    """Run a command as `main` does, and end this process as soon as all is written.

    Python's own cleanup would take 0.1 s, while a thread may still import what this run turned out
    not to need. A notebook or IDLE stays open, in the folder where it was.
    """
    if settings.is_interactive():
        try:
            return main(arguments)
        finally:
            os.chdir(STARTED_IN)
            os.environ.pop(settings.CONSOLE_HANDLER, None)
    exit_codes: list[int] = []

    def end() -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for code in exit_codes:
            os._exit(code)

    atexit.register(end)  # registered first, called last
    exit_codes.append(main(arguments))
    return exit_codes[0]


def find_flow(name: str) -> FlowSource:
    """Return a flow by its name; raise `UserError` if it does not exist, as the default may not."""
    if name not in FLOWS:
        raise UserError(f"There is no flow {name!r}: `python main.py new-flow {name}` writes one.")
    return FLOWS[name]


def print_error(error: Exception) -> int:
    """Print an error as a sentence; return the exit code."""
    explained: Any = error
    if not is_for_user(error) and "prefect" in sys.modules:  # it may come from the server
        from runtime.server.errors import explain

        explained = explain(error) or error
    if isinstance(error, SyntaxError) and (place := own_line(error.filename, error.lineno)):
        explained = UserError(f"{place}: {error.msg}.")
    if is_for_user(explained):
        print(without_password(f"Error: {explained}"), file=sys.stderr)
        return int(explained.exit_code)
    calls = reversed([*walk_tb(error.__traceback__)])
    places = [own_line(frame.f_code.co_filename, line) for frame, line in calls]
    where = next((f" ({place})" for place in places if place), "")
    print(without_password(f"Error: {type(error).__name__}: {error}{where}"), file=sys.stderr)
    print("The run failed; --debug shows the whole traceback.", file=sys.stderr)
    return 1


def own_line(file: str | None, line: int | None) -> str:
    """Return the name of a line in `flows` or `ml`, "" for a line of any other file."""
    path = Path(str(file)).resolve()  # the project may be reached by a link
    if path.parent not in (settings.ROOT / "flows", settings.ROOT / "ml"):
        return ""
    return f"{path.parent.name}/{path.name}" + (f", line {line}" if line else "")


def print_last(lines: list[str]) -> None:
    """Print the last lines of a run, if the output is still read."""
    try:
        print(*lines, sep="\n", end="", flush=True)
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Discard the rest of stdout, since its reader (such as `head`) has read enough.

    Otherwise Python would report an error at its exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def import_late() -> None:
    """Import what only the last tasks use, while the first ones wait for the server."""
    for module in ("skops.io", "matplotlib.backends.backend_agg"):
        import_module(module)


def check_settings() -> None:
    """Raise `UserError` for a bad setting before a run, not after it."""
    from runtime.engines import check_engine
    from runtime.storage import Storage

    settings.keep_runs()
    settings.warm()
    check_engine()
    if bucket := settings.outputs():
        Storage(bucket).check()


def start_dashboard() -> "Server":
    """Start this project's server with its pages; raise `UserError` where one already runs."""
    from runtime.server import find, use_server
    from runtime.server.surroundings import import_prefect

    for flow in FLOWS.values():
        flow.definition()  # raises the error of a file that has one
    check_settings()
    settings.notify()
    if running := find():
        raise UserError(f"This project's dashboard already runs: {running.ui_url}")
    server = use_server(dashboard=True)
    import_prefect()
    return server


def wait_for_dashboard(server: "Server") -> str:
    """Wait until the dashboard can be opened; print and return its address."""
    from runtime.server import wait_until_ready

    wait_until_ready(server)
    from runtime.runs import name_killed_runs

    name_killed_runs()
    dashboard = dashboard_address()
    print(f"Dashboard: {dashboard}   (Ctrl-C stops it)", flush=True)
    return dashboard


def open_browser(url: str) -> None:
    """Open a page in the background, but not in a text browser, which would take this terminal."""
    import webbrowser

    with suppress(webbrowser.Error):  # no browser is installed
        browser = webbrowser.get()
        if Path(getattr(browser, "name", "")).name not in TEXT_BROWSERS:
            threading.Thread(target=browser.open, args=(url,), daemon=True).start()


def dashboard_address() -> str:
    """Return the dashboard's address, as Prefect knows it, or else the command that opens one."""
    from prefect.settings import PREFECT_UI_URL

    address = without_password(str(PREFECT_UI_URL.value() or "")).removesuffix("/v2")
    return address or "python main.py ui"

"""What people do on the dashboard, in a real browser, and the pictures of it in docs/images."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import BakedProject
from PIL import Image
from team import ask
from template_copy import REPO
from test_running import Terminal, plain_environment, project, terminals
from test_security import CHROMIUM, PATIENCE_MS

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Locator, Page

pytestmark = pytest.mark.slow

__all__ = ["plain_environment", "project"]  # fixtures

RETRY_MS = 20_000  # then a click is taken for lost
WIDTH = 1200  # pixels, of the browser
ENDED = re.compile(r"^(Completed|Failed|Crashed)$")
ENDED_TYPES = {"any_": ["COMPLETED", "FAILED", "CRASHED"]}
PLANNED = {"state": {"type": {"any_": ["SCHEDULED"]}}}
GREEN = (33, 157, 75)  # of what succeeded, in the graph of a run


@dataclass
class Dashboard:
    """The dashboard of a project, open in a browser."""

    terminal: Terminal
    page: Page
    pictures: Path
    project: BakedProject
    asked: set[str] = field(default_factory=set)  # hosts that the page has sent something to
    earlier_runs: set[str] = field(default_factory=set)  # ids, when a run was last chosen

    def open_deployment(self, flow: str, name: str = "iris-project") -> None:
        """Go to a deployment from the front page, as a person does."""
        self.page.goto(self.terminal.url)
        self.page.get_by_role("link", name="Deployments").click()
        row = self.page.get_by_role("row").filter(has_text=flow)
        row.get_by_role("link", name=name, exact=True).click()

    def run(self, kind: str) -> None:
        """Choose "Quick run" or "Custom run" on the page of a deployment."""
        self.earlier_runs = self.runs_by_hand()
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name=kind).click()

    def quick_run(self) -> None:
        """Choose "Quick run" until the page asks for one: on a busy machine a click can be lost."""
        sync_api = importlib.import_module("playwright.sync_api")

        def is_created() -> bool:
            try:
                with self.page.expect_response("**/create_flow_run", timeout=RETRY_MS) as answer:
                    self.run("Quick run")
            except sync_api.TimeoutError:
                self.page.reload()
                return False
            assert answer.value.ok  # whatever else the server does meanwhile
            return True

        self.terminal.wait_for(is_created)

    def box(self, parameter: str) -> Locator:
        """Return where the value of a parameter is typed in."""
        label = self.page.get_by_text(parameter).first
        return label.locator("xpath=following::*[self::input or self::textarea][1]")

    def runs_by_hand(self) -> set[str]:
        """Return the ids of the runs that were started here, none of them within another one."""
        alone = {"parent_task_run_id": {"is_null_": True}}
        runs = self.ask("/flow_runs/filter", flow_runs=alone)
        return {run["id"] for run in runs if not run["auto_scheduled"]}

    def new_runs(self) -> set[str]:
        """Return the ids of those that were started since a run was last chosen."""
        return self.runs_by_hand() - self.earlier_runs

    def submit(self) -> None:
        """Click "Submit" until a run has begun: on a busy machine a click can be lost."""
        button = self.page.get_by_role("button", name="Submit")

        def has_begun() -> bool:
            if button.is_visible():
                button.click()
            return bool(self.new_runs())

        self.terminal.wait_for(has_begun)

    def wait_for_the_end(self) -> str:
        """Go to the page of the run that was just started; return the state in which it ended.

        The notice with "View run" may be gone before it can be clicked.
        """
        self.terminal.wait_for(lambda: bool(self.new_runs()))
        run = self.new_runs().pop()
        self.page.goto(f"{self.terminal.url}/v2/runs/flow-run/{run}")
        self.page.get_by_role("tab", name="Logs").wait_for()
        ended = self.page.get_by_text(ENDED).first
        ended.wait_for()
        return ended.inner_text()

    def open_artifact(self, key: str) -> None:
        """Go from the page of a run to its artifact."""
        self.page.get_by_role("tab", name="Artifacts").click()
        self.page.get_by_role("tabpanel").get_by_text(key, exact=True).click()
        self.page.wait_for_url("**/artifacts/artifact/*")

    def ask(self, path: str, **question: Any) -> Any:
        """Return what the API answers to a question that is posted."""
        return ask(f"{self.terminal.url}/api{path}", question)

    def take_picture(self, name: str, *, whole: bool = False) -> Image.Image:
        """Take a picture of the page when nothing moves on it any more, and keep it."""
        path = self.pictures / f"{name}.png"
        if whole:
            self.page.evaluate("scrollTo(0, 0)")  # else the bar at the side is where it was
        before = b""
        while (now := self.page.screenshot(full_page=whole, animations="disabled")) != before:
            before = now
        picture = Image.open(io.BytesIO(now)).convert("RGB")
        # A page of plain colours: so it takes a third of the space, and looks the same.
        picture.quantize(256).save(path, optimize=True)
        return picture


@pytest.fixture(scope="module")
def dashboard(
    project: BakedProject,
    plain_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Dashboard]:
    """Serve the project on a port other than 4200, with a schedule, and open a browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    folder = tmp_path_factory.mktemp("dashboard")
    pictures = REPO / "docs" / "images" if request.config.getoption("--pictures") else folder
    with (
        terminals(project, folder) as open_terminal,
        sync_api.sync_playwright() as playwright,
        contextlib.ExitStack() as taken,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Prefect plans the runs of a schedule once a minute, which is long to wait for.
        patch.setenv("PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS", "1")
        with contextlib.suppress(OSError):  # it is in use anyway
            taken.enter_context(socket.create_server(("127.0.0.1", 4200)))
        terminal = open_terminal("serve", "--every", "86400")
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 800}, timezone_id="UTC", locale="en-US"
        )
        page.set_default_timeout(PATIENCE_MS)
        opened = Dashboard(terminal, page, pictures, project)
        page.on("request", lambda request: opened.asked.add(request.url.split("/")[2]))
        yield opened
        terminal.press_ctrl_c()


@pytest.fixture(scope="module")
def quick_run(dashboard: Dashboard, request: pytest.FixtureRequest) -> str:
    """Run `main-flow` with what it is given by default; return the address of the run's page."""
    dashboard.open_deployment("main-flow")
    dashboard.quick_run()
    if request.config.getoption("--pictures"):
        dashboard.page.get_by_role("button", name="View run").wait_for()
        dashboard.take_picture("quick-run")
    assert dashboard.wait_for_the_end() == "Completed"
    return dashboard.page.url


@pytest.fixture
def data_science_run(dashboard: Dashboard, quick_run: str) -> None:
    """Go from the run of `main-flow` to that of `data-science`."""
    dashboard.page.goto(quick_run)
    dashboard.page.get_by_role("tab", name="Subflow Runs").click()
    card = dashboard.page.get_by_role("tabpanel").locator("ul > li").filter(has_text="data-science")
    card.get_by_role("link").last.click()
    dashboard.page.get_by_text("Parent Run").wait_for()


def bars_in_graph(picture: Image.Image, graph: FloatRect) -> int:
    """Return how many bars of success lie one below another in the graph of a run."""
    right, bottom = graph["x"] + graph["width"], graph["y"] + graph["height"]
    cut = picture.crop((int(graph["x"]), int(graph["y"]), int(right), int(bottom)))
    off = np.abs(np.asarray(cut).astype(int) - GREEN).max(axis=2)
    return sum(is_green for is_green, _ in itertools.groupby(off.min(axis=1) < 10))


def test_every_address_leads_to_the_same_pages_and_these_ask_nobody_else(
    dashboard: Dashboard, quick_run: str
) -> None:
    url = dashboard.terminal.url
    assert not url.endswith(":4200")
    shown = re.search(r"Prefect UI: (\S+)/deployments", dashboard.terminal.shown)
    assert shown
    dashboard.page.goto(url)
    dashboard.page.wait_for_url(f"{shown[1]}/**")
    assert quick_run.startswith(f"{shown[1]}/runs/")
    dashboard.page.get_by_role("link", name="Deployments").wait_for()
    assert dashboard.page.get_by_text("Upgrade").count() == 0
    assert dashboard.asked == {url.removeprefix("http://")}


def test_the_graph_of_a_run_shows_its_three_flows(dashboard: Dashboard, quick_run: str) -> None:
    dashboard.page.goto(quick_run)
    dashboard.page.get_by_text("Finished in state Completed()").wait_for()
    graph = dashboard.page.locator("canvas").first.bounding_box()
    assert graph
    # data-engineer, data-science, and along the bottom main-flow itself.
    dashboard.terminal.wait_for(
        lambda: bars_in_graph(dashboard.take_picture("dashboard"), graph) == 3
    )
    dashboard.page.get_by_role("tab", name="Subflow Runs").click()
    for flow in ("data-engineer", "data-science"):
        dashboard.page.get_by_role("tabpanel").get_by_text(flow).first.wait_for()


@pytest.mark.usefixtures("data_science_run")
def test_the_log_says_how_good_the_model_is(dashboard: Dashboard) -> None:
    dashboard.page.get_by_role("tab", name="Logs").click()
    # Unlike `scroll_into_view_if_needed`, this begins again when the page draws the line once more.
    dashboard.page.get_by_text("Model accuracy on test set: 93.33").hover()
    dashboard.take_picture("log")


@pytest.mark.usefixtures("data_science_run")
def test_the_artifacts_can_be_read(dashboard: Dashboard) -> None:
    page = dashboard.page
    address = page.url
    dashboard.open_artifact("report-table")
    for cell in ("setosa", "versicolor", "virginica", "precision", "recall", "F1", "support"):
        page.get_by_text(cell, exact=True).first.wait_for()
    dashboard.take_picture("metrics")
    page.goto(address)
    dashboard.open_artifact("report")
    page.get_by_role("heading", name="Accuracy on the test set: 93.33%").wait_for()
    matrix = page.get_by_alt_text("Confusion matrix")

    def is_drawn_whole() -> bool:
        """Tell whether it is there and not cut off: the page may draw it more than once."""
        box = matrix.bounding_box()
        is_there = matrix.evaluate("image => image.naturalWidth") > 0
        return is_there and box is not None and box["x"] + box["width"] < WIDTH

    dashboard.terminal.wait_for(is_drawn_whole)
    dashboard.take_picture("artifact", whole=True)


def test_a_value_typed_in_is_that_of_the_run(dashboard: Dashboard) -> None:
    dashboard.open_deployment("main-flow")
    dashboard.run("Custom run")
    dashboard.page.get_by_text("Share of the rows kept for testing, between 0 and 1.").wait_for()
    box = dashboard.box("test_data_ratio")
    assert box.input_value() == "0.2"
    box.press("ControlOrMeta+a")
    box.press_sequentially("0.3")
    dashboard.take_picture("custom-run", whole=True)
    dashboard.submit()
    assert dashboard.wait_for_the_end() == "Completed"
    dashboard.page.get_by_role("tab", name="Parameters").click()
    dashboard.page.get_by_text('"test_data_ratio": 0.3').wait_for()
    name = dashboard.page.url.split("/flow-run/")[1].partition("?")[0]
    [facts] = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in dashboard.project.path.glob("data/processed/*/run.json")
        if name in path.read_text(encoding="utf-8")
    ]
    metrics = json.loads(dashboard.project.text(f"reports/{facts['run']}/metrics.json"))
    assert sum(one["support"] for one in metrics["classes"].values()) == 45  # of 150


def test_a_wrong_value_is_refused_beside_its_box_and_letters_are_not_taken(
    dashboard: Dashboard,
) -> None:
    dashboard.open_deployment("main-flow")
    dashboard.run("Custom run")
    before = dashboard.ask("/flow_runs/count")
    box = dashboard.box("test_data_ratio")
    box.press("End")
    box.press_sequentially("many")
    assert box.input_value() == "0.2"
    box.press("ControlOrMeta+a")
    box.press_sequentially("5")
    dashboard.page.get_by_role("button", name="Submit").click()
    reason = "5 is greater than or equal to the maximum of 1"
    dashboard.page.get_by_text(reason, exact=True).wait_for()
    dashboard.take_picture("wrong-value", whole=True)
    assert "/run?" in dashboard.page.url, "the form is left"
    assert dashboard.ask("/flow_runs/count") == before


def test_a_run_that_fails_says_why_and_the_overview_shows_it(
    dashboard: Dashboard, quick_run: str
) -> None:
    page = dashboard.page
    dashboard.open_deployment("data-engineer")
    dashboard.run("Custom run")
    box = dashboard.box("raw_path")
    box.press("ControlOrMeta+a")
    box.press_sequentially("data/raw/lost.csv")
    dashboard.submit()
    assert dashboard.wait_for_the_end() == "Failed"
    page.reload()  # the page of a run that has ended asks for no more of its log
    page.get_by_text("there is no such file: check its path").first.wait_for()

    total = len(dashboard.ask("/flow_runs/filter", flow_runs={"state": {"type": ENDED_TYPES}}))
    assert total >= 3

    def all_are_counted() -> bool:
        page.goto(dashboard.terminal.url)  # the overview is of the time when it is opened
        page.get_by_text(re.compile(r"^[1-9]\d* total$")).wait_for()
        return page.get_by_text(f"{total} total", exact=True).is_visible()

    dashboard.terminal.wait_for(all_are_counted)
    page.get_by_text("data-engineer").wait_for()
    dashboard.take_picture("overview")


def test_the_schedule_is_paused_and_resumed(dashboard: Dashboard) -> None:
    page = dashboard.page

    def planned() -> int:
        """Return how many runs the server has planned."""
        return len(dashboard.ask("/flow_runs/filter", flow_runs=PLANNED))

    dashboard.open_deployment("main-flow", "iris-project-schedule")
    page.get_by_text("Every 1 day").wait_for()
    page.get_by_text("Next Run").wait_for()
    turn_switch(dashboard, to=False)
    dashboard.terminal.wait_for(lambda: planned() == 0)
    page.reload()
    page.get_by_role("switch", checked=False).wait_for()
    page.get_by_text("No runs found").wait_for()
    assert page.get_by_text("Next Run").count() == 0
    dashboard.take_picture("schedule")
    turn_switch(dashboard, to=True)
    dashboard.terminal.wait_for(lambda: planned() > 0)
    page.reload()
    page.get_by_role("switch", checked=True).wait_for()
    page.get_by_text("Next Run").wait_for()


def turn_switch(dashboard: Dashboard, to: bool) -> None:
    """Click the only switch of a page until it has turned: on a busy machine one click was lost."""

    def has_turned() -> bool:
        switch = dashboard.page.get_by_role("switch")
        if switch.is_checked() != to:
            switch.click()
        return switch.is_checked() == to

    dashboard.terminal.wait_for(has_turned)


def test_the_report_opens_as_a_file(dashboard: Dashboard, quick_run: str) -> None:
    [report] = [
        path
        for path in dashboard.project.path.glob("reports/*/report.html")
        if "30 rows in the test set" in path.read_text(encoding="utf-8")
    ]
    dashboard.page.goto(report.as_uri())
    assert dashboard.page.get_by_role("heading").first.inner_text().endswith("93.33%")
    dashboard.take_picture("report", whole=True)

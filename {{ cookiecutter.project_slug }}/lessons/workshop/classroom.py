"""The class at a glance: students report their checks to a Prefect server, the teacher reads them.

A report is a flow run of the flow `lessons`, tagged with lesson and student. Only the student's
name, the lesson, the outcome, the key of its sentence and the time are sent. The module uses the
server's REST API directly, because importing Prefect's client takes longer than a check.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from lessons.workshop import progress, server
from lessons.workshop.catalogue import Lesson, fill
from lessons.workshop.checking import Outcome
from runtime.errors import UserError

FLOW = "lessons"
RETRY_SECONDS = 5
PAGE = 200  # flow runs, the most that a server returns at once
LONGEST_NAME = 60
SENT = ("student", "lesson", "outcome", "time", "finding")
STATES = {  # of the flow runs
    "right": ("COMPLETED", "Right"),
    "open": ("FAILED", "Open"),
    "joined": ("COMPLETED", "Joined"),
}
MOMENT_SECONDS = 1
JOINED = ""  # in place of a lesson: the student has joined
# A server that thirty students have asked at once is slow, not away.
TIMEOUT = httpx.Timeout(60, connect=10)
REFUSALS = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


@dataclass(frozen=True)
class Report:
    """One check of one student, or that the student has joined."""

    student: str
    lesson: str
    outcome: str  # "right", "open" or "joined"
    time: str  # in UTC, as ISO 8601, by the student's clock
    finding: str = ""  # its key, where the lesson is open
    id: str = ""  # so that a report which is sent twice counts once
    received: str = ""  # the time by the server's clock


class Reporter:
    """Sends reports in the background; a file keeps those that the server has not received yet."""

    def __init__(self, client: httpx.Client, student: str) -> None:
        """Begin to send what an earlier session has kept."""
        self._client = client
        self._student = student
        to_whom = sha256(str(client.base_url))[:8]  # no other class gets them
        self._kept = server.HOME / f"reports-to-send-{to_whom}.jsonl"
        self._changed = threading.Condition()
        self._stopping = False
        self.reason = "away"  # why the last failed report was not sent
        self._reports = self._read()
        self._add(Report(student, JOINED, "joined", _text(datetime.now(UTC)), id=uuid4().hex))
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def report(self, lesson: Lesson, outcome: Outcome) -> None:
        """Queue a report without waiting; a solved lesson counts once, however often reported."""
        time, known_as = datetime.now(UTC), uuid4().hex
        if outcome.passed and (solved_at := progress.solved_at(lesson)):
            time = solved_at
            known_as = sha256(f"{self._student}/{lesson.name}/{time.isoformat()}")
        status = "right" if outcome.passed else "open"
        self._add(
            Report(self._student, lesson.name, status, _text(time), outcome.key or "", known_as)
        )

    def _add(self, report: Report) -> None:
        with self._changed:
            if report.id not in [one.id for one in self._reports]:
                self._reports.append(report)
            self._write()
            self._changed.notify()

    def stop(self, slow: Callable[[], None] = lambda: None) -> int:
        """Wait until all is sent or sending fails; return the number of reports that are kept.

        `slow` is called if that takes longer than MOMENT_SECONDS.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(MOMENT_SECONDS)
        if self._thread.is_alive():
            slow()
            self._thread.join()
        return len(self._reports)

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._reports or self._stopping)
                if not self._reports:
                    return
                report = self._reports[0]
            try:
                send(self._client, report)
            except (httpx.HTTPError, ValueError) as error:
                with self._changed:
                    self.reason = reason(error)
                    if self._stopping or self._changed.wait_for(
                        lambda: self._stopping, RETRY_SECONDS
                    ):
                        return
                continue
            with self._changed:
                self._reports.remove(report)
                self._write()

    def _read(self) -> list[Report]:
        try:
            lines = self._kept.read_text(encoding="utf-8").splitlines()
            return [Report(**json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError):
            return []

    def _write(self) -> None:
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(asdict(report)) + "\n" for report in self._reports]
        self._kept.write_text("".join(lines), encoding="utf-8")


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def client_for(api_url: str, auth: str | None, texts: dict[str, Any]) -> httpx.Client:
    """Return a client for a Prefect server; `auth` is `user:password`, as in Prefect's setting.

    Raises `UserError` for an invalid address.
    """
    if not re.fullmatch(r"https?://[^/\s]+/api/?", api_url):
        raise UserError(fill(texts["no_address"], {"address": api_url}))
    name, _, password = (auth or "").partition(":")
    return httpx.Client(
        base_url=api_url.rstrip("/"), auth=(name, password) if auth else None, timeout=TIMEOUT
    )


def reason(error: Exception) -> str:
    """Return why a server could not be used: `away`, `slow`, `refused`, or `strange`."""
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in REFUSALS:
        return "refused"
    if isinstance(error, httpx.ConnectTimeout) or not isinstance(error, httpx.TimeoutException):
        return "away" if isinstance(error, httpx.TransportError) else "strange"
    return "slow"


def student_name(name: str | None, texts: dict[str, Any]) -> str:
    """Return a name in one line; raise `UserError` for a missing, long or unprintable one."""
    shown = " ".join((name or "").split())
    if not shown or not shown.isprintable() or len(shown) > LONGEST_NAME:
        raise UserError(fill(texts["no_name"], {"longest": LONGEST_NAME}))
    return shown


def _introduce(client: httpx.Client) -> None:
    """Get the token that a server may require, as a protection against other web pages (CSRF).

    Raises `httpx.HTTPError` if the server is out of reach or refuses.
    """
    ours = client.headers.setdefault("Prefect-Csrf-Client", uuid4().hex)
    answer = client.get("/csrf-token", params={"client": ours})
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:  # it asks for none
        client.headers["Prefect-Csrf-Token"] = answer.raise_for_status().json()["token"]


def send(client: httpx.Client, report: Report) -> None:
    """Create a flow run for a report; raise `httpx.HTTPError` if that fails."""
    _introduce(client)
    flow = client.post("/flows/", json={"name": FLOW}).raise_for_status().json()
    kind, name = STATES[report.outcome]
    parameters = asdict(report)
    run = {
        "flow_id": flow["id"],
        "name": f"{report.student} {report.lesson or report.outcome}",
        "tags": [tag for tag in (report.lesson, report.student) if tag],
        "parameters": {one: parameters[one] for one in SENT},
        "state": {"type": kind, "name": name},
        "idempotency_key": report.id,
    }
    client.post("/flow_runs/", json=run).raise_for_status()


def read_reports(client: httpx.Client) -> Iterator[Report]:
    """Yield all reports of the class, the oldest first; raise `httpx.HTTPError` on failure."""
    _introduce(client)
    wanted: dict[str, Any] = {
        "flows": {"name": {"any_": [FLOW]}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": PAGE,
        "offset": 0,
    }
    while True:
        found = client.post("/flow_runs/filter", json=wanted).raise_for_status().json()
        for run in found:
            given = {name: str(run["parameters"].get(name, "")) for name in SENT}
            if given["student"] and given["outcome"] in STATES:
                yield Report(**given, received=run["created"])
        if len(found) < PAGE:
            return
        wanted["offset"] += PAGE

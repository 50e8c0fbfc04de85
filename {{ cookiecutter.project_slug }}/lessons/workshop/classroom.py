"""The class at a glance: students report their checks to a Prefect server, the teacher reads them.

A report is a flow run of the flow `lessons`, tagged with lesson and student. Nothing is sent but
the student's name, the lesson, the outcome and the time. The server's REST API is spoken to as
such, because importing Prefect's client takes longer than a check.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
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


@dataclass(frozen=True)
class Report:
    """One check of one student."""

    student: str
    lesson: str
    outcome: str  # "right" or "open"
    time: str  # in UTC, as ISO 8601
    id: str = ""  # so that a report which is sent twice counts once


class Reporter:
    """Sends reports in the background; what a server that is away has not got is kept in a file."""

    def __init__(self, client: httpx.Client, student: str) -> None:
        """Begin to send what an earlier session has kept."""
        self._client = client
        self._student = student
        to_whom = sha256(str(client.base_url))[:8]  # no other class gets them
        self._kept = server.HOME / f"reports-to-send-{to_whom}.jsonl"
        self._changed = threading.Condition()
        self._stopping = False
        self._reports = self._read()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def report(self, lesson: Lesson, outcome: Outcome) -> None:
        """Note a check; this takes no time. A lesson is solved once, however often it is told."""
        time, known_as = datetime.now(UTC), uuid4().hex
        if outcome.passed and (solved_at := progress.solved_at(lesson)):
            time = solved_at
            known_as = sha256(f"{self._student}/{lesson.name}/{time.isoformat()}")
        said, when = "right" if outcome.passed else "open", time.isoformat(timespec="seconds")
        report = Report(self._student, lesson.name, said, when, known_as)
        with self._changed:
            if known_as not in [one.id for one in self._reports]:
                self._reports.append(report)
            self._write()
            self._changed.notify()

    def stop(self, within_seconds: float = 3) -> int:
        """Send what can be sent within a moment; return how many reports are kept for later."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(within_seconds)
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
            except httpx.HTTPError:
                with self._changed:
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


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def client_for(api_url: str, auth: str | None, texts: dict[str, Any]) -> httpx.Client:
    """Return a client for a Prefect server; `auth` is `user:password`, as Prefect has it.

    Raises `UserError` for what is no address.
    """
    if not re.fullmatch(r"https?://[^/\s]+/api/?", api_url):
        raise UserError(fill(texts["no_address"], {"address": api_url}))
    name, _, password = (auth or "").partition(":")
    return httpx.Client(
        base_url=api_url.rstrip("/"), auth=(name, password) if auth else None, timeout=10
    )


def student_name(name: str | None, texts: dict[str, Any]) -> str:
    """Return a name in one line; raise `UserError` for none and for one that is too long."""
    shown = " ".join((name or "").split())
    if not shown or not shown.isprintable() or len(shown) > LONGEST_NAME:
        raise UserError(fill(texts["no_name"], {"longest": LONGEST_NAME}))
    return shown


def _introduce(client: httpx.Client) -> None:
    """Take the token that a server may ask for, so that no web page gives it orders (CSRF).

    Raises `httpx.HTTPError` where the server is away or refuses.
    """
    ours = client.headers.setdefault("Prefect-Csrf-Client", uuid4().hex)
    answer = client.get("/csrf-token", params={"client": ours})
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:  # which says: it asks for none
        client.headers["Prefect-Csrf-Token"] = answer.raise_for_status().json()["token"]


def send(client: httpx.Client, report: Report) -> None:
    """Make a flow run of a report; raise `httpx.HTTPError` where that fails."""
    _introduce(client)
    flow = client.post("/flows/", json={"name": FLOW}).raise_for_status().json()
    right = report.outcome == "right"
    run = {
        "flow_id": flow["id"],
        "name": f"{report.student} {report.lesson}",
        "tags": [report.lesson, report.student],
        "parameters": {name: value for name, value in asdict(report).items() if name != "id"},
        "state": {"type": "COMPLETED", "name": "Right"}
        if right
        else {"type": "FAILED", "name": "Open"},
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
            given = run["parameters"]
            if {"student", "lesson", "outcome", "time"} <= given.keys():
                yield Report(**{name: str(value) for name, value in given.items()})
        if len(found) < PAGE:
            return
        wanted["offset"] += PAGE

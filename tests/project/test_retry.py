"""What Prefect refuses while SQLite is locked is asked again, by the server itself."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import httpx
import pytest
from runtime.server import Server
from runtime.server.retry import RetryWhileLocked

PATIENCE_SECONDS = 300  # only a hang takes so long


def test_all_runs_that_are_created_at_once_are_there(prefect_server: Server) -> None:
    # Prefect alone refuses more than half of these.
    api = prefect_server.api_url
    flow = httpx.post(f"{api}/flows/", json={"name": "at-once"}).json()["id"]
    run = {"flow_id": flow, "state": {"type": "SCHEDULED"}}

    def create(_: int) -> int:
        return httpx.post(f"{api}/flow_runs/", json=run, timeout=PATIENCE_SECONDS).status_code

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(create, range(40))] == [201] * 40
    count = httpx.post(f"{api}/flow_runs/count", json={"flows": {"id": {"any_": [flow]}}})
    assert count.json() == 40


def ask(statuses: Iterable[int], content: bytes = b"") -> httpx.Response:
    """Return the answer of an application that has these statuses for one request, in turn."""
    remaining = iter(statuses)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        status = next(remaining)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})
        if status >= 500:  # as Starlette does
            raise OSError("database is locked")

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(RetryWhileLocked(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.post("/", content=content)

    return asyncio.run(post())


def test_a_refused_request_is_repeated_with_its_whole_body() -> None:
    content = bytes(range(256)) * 1000
    answer = ask([503, 503, 201], content)
    assert (answer.status_code, answer.content) == (201, content)


def test_what_is_refused_for_long_is_answered_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.server.retry.PATIENCE_SECONDS", 0.1)
    answer = ask(repeat(503), b"why")
    assert (answer.status_code, answer.content) == (503, b"why")


def test_another_error_is_not_repeated() -> None:
    assert ask([500, 201]).status_code == 500

"""What is sent to break in: other web pages, odd data and parameters, files with a trap in them."""

import asyncio

import httpx
import pytest
import websockets
from starlette.datastructures import Headers

from flows.doors import is_own
from flows.server import Server

ELSEWHERE = "http://evil.example"

# ---- doors


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ELSEWHERE},
        {"Origin": ELSEWHERE, "Content-Type": "text/plain"},  # a browser sends it unasked
        {"Origin": "null"},  # a page in a sandbox, or a file
        {"Origin": "http://127.0.0.1:1"},  # another server of this machine
        {"Host": "evil.example:4200"},  # its name was made to point at this machine
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/flows/filter", "/flows/", "/admin/version", "/nowhere"])
def test_another_web_page_is_refused(
    prefect_server: Server, headers: dict[str, str], path: str
) -> None:
    for method in ("GET", "POST", "OPTIONS", "DELETE"):
        content = b'{"name": "evil"}' if method == "POST" else None
        url = f"{prefect_server.api_url}{path}"
        answer = httpx.request(method, url, headers=headers, content=content)
        assert answer.status_code == 403
        assert answer.text.startswith("Refused: only this machine's programs")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    names = httpx.post(f"{prefect_server.api_url}/flows/filter", json={}).json()
    assert "evil" not in [flow["name"] for flow in names]


@pytest.mark.parametrize("path", ["/events/in", "/events/out", "/logs/out"])
def test_the_web_sockets_of_another_page_are_refused(prefect_server: Server, path: str) -> None:
    url = f"{prefect_server.api_url}{path}"
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ==",
        "Sec-WebSocket-Version": "13",
    }
    for hostile in ({"Origin": ELSEWHERE}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert httpx.get(url, headers=handshake | hostile).status_code == 403

    async def connect() -> None:  # as Prefect's client does
        async with websockets.connect(url.replace("http:", "ws:")) as socket:
            await socket.ping()

    asyncio.run(connect())


@pytest.mark.parametrize(
    ("own", "headers"),
    [
        (True, {"host": "127.0.0.1:4200"}),
        (True, {"host": "localhost"}),
        (True, {"host": "[::1]:4200"}),
        (True, {"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4200"}),
        (True, {"host": "127.0.0.1:4200", "origin": "http://localhost:4200"}),
        (True, {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}),
        (True, {"host": "localhost", "sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"}),
        (False, {}),
        (False, {"host": ""}),
        (False, {"host": "127.0.0.1.evil.example:4200"}),
        (False, {"host": "127.0.0.1:4200@evil.example"}),
        (False, {"host": "evil.example#127.0.0.1"}),
        (False, {"host": "127.0.0.1:99999"}),
        (False, {"host": "[::1"}),
        (False, {"host": "127.0.0.1:4200", "origin": "https://127.0.0.1:4200"}),
        (False, {"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4201"}),
        (False, {"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4200.evil.example"}),
        (False, {"host": "127.0.0.1:4200", "origin": "http://localhost:4200@evil.example"}),
        (False, {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}),
        (False, {"host": "localhost", "sec-fetch-site": "same-site"}),
    ],
    ids=str,
)
def test_who_may_ask_is_told_by_the_headers(own: bool, headers: dict[str, str]) -> None:
    assert is_own(Headers(headers)) == own

"""Who may use the server that `main.py` starts, and which hosts its dashboard may ask.

Prefect's server asks for no password, and by default it answers any web page in the browser of
whoever runs it. A page could thus create a deployment, and with it run a command on this machine.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN_NAMES = ("127.0.0.1", "localhost", "::1")
# Prefect's page asks an analytics company for its configuration, even if analytics are off. With
# this policy the browser lets the page, and all that it shows, connect to this machine only.
POLICY = "connect-src data: blob: " + " ".join(
    f"{scheme}://{name}:*" for scheme in ("http", "ws") for name in ("127.0.0.1", "localhost")
)
REFUSED = "Refused: only this machine's programs and the dashboard itself may use this server.\n"


class OwnPageOnly:
    """An ASGI middleware that answers 403 to requests of other web pages, web sockets included.

    The server's own pages get `POLICY`.

    A browser names the page that asks in `Origin`; without it, `Sec-Fetch-Site` says whether it
    is another. Programs send neither. `Host` is checked because the name of a foreign page can be
    made to point at this machine (DNS rebinding), which makes it the same origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_page = scope["type"] == "http" and "text/html" in headers.get("accept", "")
        if is_own(headers):
            await self.app(scope, receive, send_with_policy if is_page else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it opens: a 403
        else:
            await PlainTextResponse(REFUSED, status_code=403)(scope, receive, send)


def is_own(headers: Headers) -> bool:
    """Return whether a request comes from a program of this machine or from the dashboard."""
    host = _own_port(f"http://{headers.get('host', '')}")
    if host is None:
        return False
    if origin := headers.get("origin"):
        # The page may be open as localhost, and still calls 127.0.0.1.
        return _own_port(origin) == host
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return True
    # A link to the dashboard is welcome; a frame, in which it could be clicked unseen, is not.
    return headers.get("sec-fetch-dest") == "document"


def _own_port(address: str) -> int | None:
    """Return the port of an address of this machine, 80 where it has none; None for any other."""
    try:
        parts = urlsplit(address)
        is_plain = address == f"http://{parts.netloc}" and not parts.username
        return (parts.port or 80) if is_plain and parts.hostname in OWN_NAMES else None
    except ValueError:  # a port that is no number
        return None

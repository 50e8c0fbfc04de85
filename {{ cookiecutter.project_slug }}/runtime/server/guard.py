"""Who may use the server that `main.py` starts, and which hosts its dashboard may ask.

Prefect's server asks for no password, and by default it answers any web page in the browser of
whoever runs it. A page could thus create a deployment, and with it run a command on this machine.
"""

import re

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OWN_ADDRESS = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
# Prefect's page asks an analytics company for its configuration, even if analytics are off. With
# this policy the browser lets the page, and all that it shows, connect to this machine only.
POLICY = "connect-src data: blob: " + " ".join(
    f"{scheme}://{name}:*" for scheme in ("http", "ws") for name in ("127.0.0.1", "localhost")
)
REFUSED = "Refused: only this machine's programs and the dashboard itself may use this server.\n"


class OwnPageOnly:
    """An ASGI middleware that answers 403 to requests of other web pages, web sockets included.

    A browser names the page that asks in `Origin`; without it, `Sec-Fetch-Site` says whether it
    is another. Programs send neither. `Host` is checked because the name of a foreign page can be
    made to point at this machine (DNS rebinding), which makes it the same origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan" or is_own(Headers(scope=scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it opens: a 403
        else:
            await PlainTextResponse(REFUSED, status_code=403)(scope, receive, send)


def is_own(headers: Headers) -> bool:
    """Return whether a request comes from a program of this machine or from the dashboard."""
    host = OWN_ADDRESS.fullmatch(headers.get("host", ""))
    if not host:
        return False
    if origin := headers.get("origin"):
        # The page may be open as localhost, and still calls 127.0.0.1.
        page = OWN_ADDRESS.fullmatch(origin.removeprefix("http://"))
        return page is not None and page[1] == host[1]
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return True
    # A link to the dashboard is welcome; a frame, in which it could be clicked unseen, is not.
    return headers.get("sec-fetch-dest") == "document"

"""Asks Prefect's application again where SQLite was locked, so that nobody else has to.

Of two transactions that have read and now write, SQLite refuses one at once, and Prefect answers
503. Its client asks again after two seconds or more. Its pages do not: of 60 clicks on "Quick run"
while other runs went on, 13 started nothing.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED = 503
ATTEMPTS = 30  # then the answer is Prefect's


class RetryWhileLocked:
    """An ASGI middleware that repeats a request for which the application answers 503.

    What a refused request wrote is undone by then; Prefect's client would repeat it, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, again if need be."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = [await receive()]
        while body[-1].get("more_body"):
            body.append(await receive())
        if await self._is_refused(scope, _replay(body, receive), send):
            async with self.turn:  # those that are repeated do not refuse one another
                for _ in range(ATTEMPTS):
                    if not await self._is_refused(scope, _replay(body, receive), send):
                        return
                await self.app(scope, _replay(body, receive), send)

    async def _is_refused(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Send the answer of the application on, unless it is a refusal."""
        is_refused = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal is_refused
            is_refused = is_refused or message.get("status") == REFUSED
            if not is_refused:
                await send(message)

        try:
            await self.app(dict(scope), receive, send_unless_refused)
        except Exception:
            if not is_refused:  # else it is why the application refused, which Starlette raises too
                raise
        return is_refused


def _replay(body: list[Message], receive: Receive) -> Receive:
    """Return what the application receives: the body once more, then what comes after it."""
    messages = iter(body)

    async def receive_again() -> Message:
        return next(messages, None) or await receive()

    return receive_again

"""Repeats a request to Prefect's application if SQLite was locked, so that no client has to.

Of two transactions that have read and now write, SQLite refuses one at once, and Prefect answers
503. Its client asks again after two seconds or more. Its pages do not: of 60 clicks on "Quick run"
while other runs were running, 13 started nothing.
"""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED = 503
PATIENCE_SECONDS = 10  # then the answer is Prefect's: another program locks the file


class RetryWhileLocked:
    """An ASGI middleware that repeats a request for which the application answers 503.

    What a refused request wrote is undone by then; Prefect's client would repeat it, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, again if necessary."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        body = [await receive()]
        while body[-1].get("more_body"):
            body.append(await receive())
        refusal = await self._ask(scope, body, receive, send)
        if refusal:
            async with self.turn:  # repeated requests take turns
                while refusal and time.monotonic() < deadline:
                    refusal = await self._ask(scope, body, receive, send)
        for message in refusal:
            await send(message)

    async def _ask(
        self, scope: Scope, body: list[Message], receive: Receive, send: Send
    ) -> list[Message]:
        """Pass the application's answer on; return it instead if it is a refusal."""
        messages, refusal = iter(body), list[Message]()

        async def receive_again() -> Message:
            return next(messages, None) or await receive()

        async def send_unless_refused(message: Message) -> None:
            if refusal or message.get("status") == REFUSED:
                refusal.append(message)
            else:
                await send(message)

        try:
            await self.app(dict(scope), receive_again, send_unless_refused)
        except Exception:
            if not refusal:  # else it is the reason for the refusal, which Starlette raises again
                raise
        return refusal

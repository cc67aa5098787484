"""A request's body: read from ASGI, no further than a limit, and counted in the process's budget until the end."""

import asyncio
from io import BytesIO
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service import whole_number
from service.budget import Budget
from service.problems import TooLarge

# Where the gateway leaves the body of a request for the routes.
IN_SCOPE = "calibrant.body"


class Body:
    """The body of one request, which is read once."""

    def __init__(self, receive: Receive, content_length: bytes | None, limit: int, budget: Budget) -> None:
        self.receive = receive
        self._content_length = content_length
        self._limit = limit
        self._budget = budget
        self._taken = 0

    async def read(self, deadline: float, limit: int | None = None) -> bytes:
        """Return the whole body; it stays unread until the budget has room for it.

        `deadline` is in ``perf_counter`` seconds; `limit` is one for this route, in bytes. Raises TooLarge as soon as
        more is declared or has come, Overloaded where the budget has no room in time, and ClientDisconnect.
        """
        limit = min(limit or self._limit, self._limit)
        declared = self._declared()
        if declared > limit:
            raise _too_large(limit)
        if not self._budget.take_now(declared):
            await self._budget.take(declared, deadline - perf_counter())
        self._taken = declared
        content = BytesIO()  # takes memory as it comes: see `service.pieces`
        size = 0
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            self._hold(size)
            content.write(chunk)
            more = message.get("more_body", False)
        return content.getvalue()

    async def check_client(self) -> None:
        """Raise ClientDisconnect where the client of a body that was read has gone."""
        gone = asyncio.ensure_future(self.receive())
        await asyncio.sleep(0)
        if gone.done():
            raise ClientDisconnect
        gone.cancel()

    def release(self) -> None:
        """Give back what the body has taken of the budget."""
        self._budget.give(self._taken)
        self._taken = 0

    def _declared(self) -> int:
        return whole_number.read(self._content_length or b"") or 0

    def _hold(self, size: int) -> None:
        """Take what has come beyond what was declared, as with a chunked body."""
        if size > self._taken:
            if not self._budget.take_now(size - self._taken):
                raise self._budget.refusal()
            self._taken = size


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")

"""The bytes that one process holds for its clients: bodies of requests at work, and answers that nobody has read yet.

One budget for every path. What does not fit waits, unread, in the order in which it came.
"""

import asyncio
from collections import deque

from service.problems import Overloaded

_RETRY_SECONDS = 1
# A small body never waits behind large ones: beyond the limit, this part of the limit is for small bodies alone.
_SMALL_BYTES = 64 * 2**10
_SMALL_SHARE = 8


class Budget:
    """Counts bytes against a limit; every method is called on the event loop."""

    def __init__(self, limit: int) -> None:
        self.held = 0
        self._limit = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_now(self, size: int) -> bool:
        """Take `size` bytes and return true; return false where they do not fit, or others wait for theirs."""
        if not self._fits(size) or (self._waiting and size > _SMALL_BYTES):
            return False
        self.held += size
        return True

    async def take(self, size: int, seconds: float) -> None:
        """Take `size` bytes as soon as they fit; raise Overloaded where that takes longer than `seconds`."""
        if self.take_now(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            self._leave(size, turn)
            if isinstance(error, TimeoutError):
                raise self.refusal() from None
            raise

    def hold(self, size: int) -> None:
        """Count `size` bytes that are there already, whether they fit or not."""
        self.held += size

    def give(self, size: int) -> None:
        """Give back bytes that were taken or held, and let those who wait have them."""
        self.held -= size
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self.held += size
            turn.set_result(None)

    def refusal(self) -> Overloaded:
        """Return the problem of a request for which there is no room."""
        detail = f"the requests at work hold the {self._limit} bytes that they may"
        return Overloaded(detail, retry_after=_RETRY_SECONDS)

    def _fits(self, size: int) -> bool:
        room = self._limit if size > _SMALL_BYTES else self._limit + self._limit // _SMALL_SHARE
        return self.held + size <= room

    def _leave(self, size: int, turn: asyncio.Future[None]) -> None:
        """End the wait for a turn, which may just have come."""
        if turn.done() and not turn.cancelled():
            self.give(size)
        else:
            self._waiting.remove((size, turn))
            self.give(0)

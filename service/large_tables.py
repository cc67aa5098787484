"""Tables that take more than a moment to read or write: on threads, and few of them at a time.

A large table waits for its turn before any work is done for it. So no table is read only to be refused by a full queue,
and the event loop shares the interpreter with no more than these threads.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TypeVar

from service.body import Body
from service.problems import DeadlinePassed
from service.tables.json import SMALL_BODY_BYTES

# So many values are read or written in less than a millisecond.
FEW_VALUES = 1024
_THREADS = 2
_TURNS = 4

T = TypeVar("T")


class LargeTables:
    """Hands out turns and threads to large tables; every method is called on the event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tables")
        self._turns = asyncio.Semaphore(_TURNS)

    @asynccontextmanager
    async def turn(self, body: Body, size: int, deadline: float) -> AsyncIterator[None]:
        """Wait for the turn of a body of `size` bytes, and keep it for the block; a small body has it at once.

        `deadline` is in ``perf_counter`` seconds. Raises DeadlinePassed, or ClientDisconnect where the client has gone.
        """
        if size <= SMALL_BODY_BYTES:
            yield
            return
        waits = self._turns.locked()
        try:
            async with asyncio.timeout(deadline - perf_counter()):
                await self._turns.acquire()
        except TimeoutError:
            raise DeadlinePassed("the deadline passed while the request waited for its turn") from None
        try:
            if waits:
                await body.check_client()
            yield
        finally:
            self._turns.release()

    async def run(self, work: Callable[[], T], *, large: bool) -> T:
        """Return what `work` returns; run `work` at once, or on a thread where it is `large`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work) if large else work()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

"""Looks at the artifacts folder again and again, in a thread, beside whatever the event loop does."""

import asyncio
import contextlib
import logging

from service.store import Store

log = logging.getLogger("calibrant")


class Following:
    """The service's look at its folder; its methods are called on the event loop."""

    def __init__(self, store: Store, seconds: float) -> None:
        """Look every so many `seconds`."""
        self.has_looked = False
        self._store = store
        self._seconds = seconds
        self._at_once = asyncio.Event()

    def look(self) -> None:
        """Look at once, also where a look is just being taken."""
        self._at_once.set()

    async def run(self) -> None:
        """Look for as long as the task is not cancelled; a look that fails is logged."""
        while True:
            self._at_once.clear()
            try:
                await asyncio.to_thread(self._store.refresh)
            except Exception:
                log.exception("looking at the artifacts folder failed; what serves goes on serving")
            self.has_looked = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._at_once.wait(), self._seconds)

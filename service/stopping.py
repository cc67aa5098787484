"""How a process ends: after SIGTERM it serves on for its lame-duck time as not ready, then as uvicorn does.

uvicorn takes no new connection, answers what it has taken within a limit, and ends by the signal.
"""

import signal
from time import monotonic
from types import FrameType
from typing import cast

import uvicorn

from service.door import Door


class Server(uvicorn.Server):
    """uvicorn's server with a lame-duck time; every other signal, and a second one, ends that time at once."""

    _stops_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        if sig != signal.SIGTERM or not self.started or self._stops_at is not None:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        door = cast("Door", self.config.loaded_app)
        door.resolver.stopping = True
        self._stops_at = monotonic() + door.settings.lame_duck_seconds

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end now."""
        if self._stops_at is not None and monotonic() >= self._stops_at:
            self.should_exit = True
        return await super().on_tick(counter)

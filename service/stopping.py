"""How a process ends: after SIGTERM it serves on for its lame-duck time as not ready, then as uvicorn does.

uvicorn takes no new connection, answers what it has taken within a limit, and ends by the signal.
"""

import asyncio
import signal
import socket
from functools import partial
from time import monotonic
from types import FrameType
from typing import cast

import uvicorn

from service.door import Door


class Server(uvicorn.Server):
    """uvicorn's server with a lame-duck time; every other signal, and a second one, ends that time at once."""

    _stops_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; a client that does not get to the end of TLS's greetings has as long as for a request's head."""
        if self.config.ssl:
            seconds = cast("Door", self.config.loaded_app).settings.head_timeout_seconds
            loop = asyncio.get_running_loop()
            limits = {"ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": seconds}
            # uvicorn passes no limits on, and the loop's own are a minute and half of one.
            loop.create_server = partial(loop.create_server, **limits)  # type: ignore[method-assign]
        await super().startup(sockets)

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

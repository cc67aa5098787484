"""How a process runs and ends: after SIGTERM it serves on for its lame-duck time as not ready, then as uvicorn does.

uvicorn takes no new connection, answers what it has taken within a limit, and ends by the signal.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from functools import partial
from time import monotonic
from types import FrameType
from typing import cast

import uvicorn

from service.board import Place
from service.credentials import Credentials
from service.door import Door
from service.tls import Tls

News = Callable[[], Credentials | None]


class Server(uvicorn.Server):
    """uvicorn's server with a lame-duck time; every other signal, and a second one, ends that time at once."""

    _stops_at: float | None = None

    def __init__(self, config: uvicorn.Config, news: News, tls: Tls | None, place: Place | None) -> None:
        """`news` gives the credentials that are to be used from now on, where there are others than before."""
        super().__init__(config)
        self._news = news
        self._tls = tls
        self._place = place

    @property
    def _door(self) -> Door:
        return cast("Door", self.config.loaded_app)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; a client that does not get to the end of TLS's greetings has as long as for a request's head."""
        if self.config.ssl:
            seconds = self._door.settings.head_timeout_seconds
            loop = asyncio.get_running_loop()
            limits = {"ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": seconds}
            # uvicorn passes no limits on, and the loop's own are a minute and half of one.
            loop.create_server = partial(loop.create_server, **limits)  # type: ignore[method-assign]
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        if self.config.loaded:
            self._door.resolver.stopping = True
        if sig != signal.SIGTERM or not self.started or self._stops_at is not None:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._stops_at = monotonic() + self._door.settings.lame_duck_seconds

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: show that the loop turns, take what is new, and say whether to end now."""
        if self._place:
            self._place.serve(ready=self._door.resolver.is_ready())
        if credentials := self._news():
            self._renew(credentials)
        if self._stops_at is not None and monotonic() >= self._stops_at:
            self.should_exit = True
        return await super().on_tick(counter)

    def _renew(self, credentials: Credentials) -> None:
        self._door.keyring.access = credentials.access
        if self._tls and credentials.certificate:
            self._tls.renew(credentials.certificate)
        self._door.following.look()

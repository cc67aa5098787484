"""The outermost layer: every request has an id and every response carries it; HEAD is GET without a body."""

import itertools
import os
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = b"x-request-id"
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestIds:
    """Makes ids that differ between processes and between requests."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex().encode()
        self._count = itertools.count()

    def make(self) -> bytes:
        """A new id."""
        return b"%s-%x" % (self._prefix, next(self._count))

    def of(self, sent: bytes | None) -> bytes:
        """The id a client sent, if it is up to 128 visible ASCII characters; else a new one."""
        return sent if sent is not None and _ACCEPTABLE_ID.fullmatch(sent) else self.make()


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """https://asgi.readthedocs.io/en/latest/specs/www.html"""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = self._ids.of(next((value for name, value in scope["headers"] if name == REQUEST_ID), None))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_ID, identity)]
            await send(message)

        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send_with_id)

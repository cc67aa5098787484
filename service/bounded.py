"""One HTTP/1 connection under uvicorn, with the bounds that uvicorn lacks. Knows nothing of plain requests.

A head may be so large, and it, a body and the reading of an answer may take so long. What arrives too slowly, or cannot
be read at all, gets a problem in its turn; then the connection is closed.
"""

import asyncio
from time import perf_counter
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service import head, request_id
from service.door import OTHER, Door, Reply
from service.http1 import Http1Connection
from service.problems import HeadTooLarge, NotParseable, Problem, ReceiveTimeout, Unavailable


class BoundedConnection(Http1Connection):
    """What uvicorn does, within the settings' bounds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on as they are
        super().__init__(*arguments, **options)
        self._door = cast("Door", self.app)
        self._settings = self._door.settings
        # How many bytes have told uvicorn's parser nothing yet.
        self._idle_bytes = 0
        self._fed_bytes = 0
        # Of the clock.
        self._since = 0.0
        self._waits_for_first = True
        self._watch: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        # uvicorn's own headers, which it makes anew each second, and their lines.
        self._headers: list[tuple[bytes, bytes]] = []
        self._common = b""

    def _receives(self) -> bool:
        """Whether a request is on its way in."""
        return self._in_message

    def _answers(self) -> bool:
        """Whether one is at work, or its answer on its way out."""
        return self.cycle is not None and not self.cycle.response_complete

    # What uvicorn's parser finds

    def data_received(self, data: bytes) -> None:
        """Read what came, within the limit of a head."""
        self._idle_bytes += len(data)
        self._fed_bytes = self._idle_bytes
        super().data_received(data)
        # A header or a trailer without an end is kept by the parser: nothing that it calls would notice.
        if self._in_message and self._idle_bytes > self._settings.max_head_bytes:
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Start the clock of a head."""
        super().on_message_begin()
        self._waits_for_first = False
        self._idle_bytes = 0
        self._since = self.loop.time()

    def _check_head(self) -> None:
        if self._head_is_too_large():
            raise HeadTooLarge(self._settings.max_head_bytes)
        super()._check_head()

    def _take_head(self) -> None:
        self._idle_bytes = 0
        self._since = self.loop.time()
        super()._take_head()

    def _head_is_too_large(self) -> bool:
        limit = self._settings.max_head_bytes
        # What came in few bytes is small: no need to add it up.
        return self._fed_bytes > limit < len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It has arrived."""
        self._idle_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Refuse what could not be read behind the request that uvicorn has just answered, or go on."""
        self._since = self.loop.time()
        super().on_response_complete()
        if self._refusal is not None and not self.pipeline:
            self._refuse(self._refusal)

    # The clock

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch = self.loop.call_later(self._settings.head_timeout_seconds, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._give_unread()
        for timer in (self._watch, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes its answer slower than it is written; it has to take it in time."""
        super().pause_writing()
        self._hold_unread()
        self._unread = self.loop.call_later(self._settings.answer_timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken nearly all of it."""
        super().resume_writing()
        self._give_unread()
        if self._unread is not None:
            self._unread.cancel()

    def _hold_unread(self) -> None:
        """Count what the client has not taken yet, as long as that is much."""
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._door.budget.hold(self._unread_bytes)

    def _give_unread(self) -> None:
        self._door.budget.give(self._unread_bytes)
        self._unread_bytes = 0

    def _check_time(self) -> None:
        """Close a connection on which a request does not arrive in time, or on which none comes any more."""
        settings = self._settings
        next_time = min(settings.head_timeout_seconds, settings.body_timeout_seconds)
        if self._receives() or not self._answers():
            left = self._since + self._limit() - self.loop.time()
            if left > 0:
                next_time = min(left, next_time)
            elif self._receives():
                self._refuse_in_turn(ReceiveTimeout(self._limit()))
            else:
                self.transport.close()
        if self.transport.is_closing():  # once its client has taken the last answer, should it ever do so
            self._watch = self.loop.call_later(settings.answer_timeout_seconds, self.transport.abort)
        else:
            self._watch = self.loop.call_later(next_time, self._check_time)

    def _limit(self) -> float:
        """How many seconds the connection may stay as it is."""
        settings = self._settings
        if self._receives():
            return settings.head_timeout_seconds if self._in_head else settings.body_timeout_seconds
        return settings.head_timeout_seconds if self._waits_for_first else settings.keep_alive_seconds

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's own
        async def answered(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:  # the service stops, and this request has not arrived or is not answered
                self._end_cancelled(cycle)

        super()._start_asgi_task(cycle, answered)

    def _end_cancelled(self, cycle: RequestResponseCycle) -> None:
        if not (cycle.response_started or self.transport.is_closing()):
            sent = dict(cycle.scope["headers"]).get(request_id.HEADER)
            problem = Unavailable("the service is stopping", retry_after=1)
            path = cycle.scope["path"]
            reply = self._door.reply(OTHER, None, problem, request_id.of(sent), perf_counter(), path)
            self._write(reply, close=True)
        self.transport.close()
        cycle.response_started = cycle.response_complete = True  # so that uvicorn adds nothing

    # The refusal

    def send_400_response(self, msg: str) -> None:
        """What cannot be read gets a problem."""
        limit = self._settings.max_head_bytes
        too_large = self._idle_bytes > limit
        self._refuse_in_turn(HeadTooLarge(limit) if too_large else NotParseable(f"the request is not HTTP/1.1: {msg}"))

    def _refuse_in_turn(self, problem: Problem) -> None:
        """Refuse now, or when an earlier request has its answer; what was found first is what is said."""
        self._refusal = self._refusal or problem
        running = self._running
        is_this_request = running is self.cycle and not self._in_head
        if running is None or running.response_complete or is_this_request:
            self._refuse(self._refusal)

    def _refuse(self, problem: Problem) -> None:
        """Answer with the problem, unless the request has its answer already, and close."""
        self._refusal = problem
        of_this_request = self._in_message and not self._in_head
        if of_this_request and self.cycle is not None and self.cycle.response_started:
            self.transport.close()
        elif not self.transport.is_closing():
            waited = self.loop.time() - self._since
            target = self.url if self._in_message else b""
            reply = self._door.reply(
                OTHER, None, problem, request_id.make(), perf_counter() - waited, head.path(target)
            )
            self._write(reply, close=True, bodiless=bool(target) and self.parser.get_method() == b"HEAD")

    def _write(self, reply: Reply, *, close: bool, bodiless: bool = False) -> None:
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        if self.server_state.default_headers is not self._headers:
            self._headers = self.server_state.default_headers
            self._common = b"".join([b"%b: %b\r\n" % header for header in self._headers])
        body = b"" if bodiless else reply.body
        self.transport.write(b"".join((STATUS_LINE[reply.status], self._common, reply.head(), end, body)))
        if close:
            self.transport.close()

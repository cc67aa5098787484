"""The fast door, under uvicorn: a plain prediction is answered from its connection, with no task and no ASGI messages.

A request is plain when its head is, byte for byte, one that uvicorn's parser has read before and in which nothing
unusual was found: the same bytes mean the same again, so that nothing is parsed. Whatever is not plain, and whatever
is wrong with it, goes through uvicorn to the portable door; only that the queue is full is said from here.

The connection also bounds what uvicorn does not: how long a request may take to arrive, and how large its head may be.
"""

import asyncio
import math
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service import request_id
from service.door import OTHER, Door, Reply
from service.entry import EngineError, Entry, Refused
from service.intervals import Level
from service.plain import MAX_BYTES, KnownHeads, PlainHead, plain_head
from service.predict import Answer, answer
from service.problems import HeadTooLarge, NotParseable, Problem, ReceiveTimeout
from service.served import Served

# uvicorn waits twice as long before it looks whether all connections are closed.
_LAST_REQUEST_SECONDS = 0.05


def _tell(entry: Entry) -> None:
    if not entry.cancelled:
        entry.reply(entry)


class Shared:
    """What the connections to one door have in common: the plain heads, and the headers of every response."""

    def __init__(self) -> None:
        self.known = KnownHeads()
        self._headers: list[tuple[bytes, bytes]] = []
        self._common = b""

    def common_headers(self, state: ServerState) -> bytes:
        """The lines of uvicorn's own headers, which it makes anew each second."""
        if state.default_headers is not self._headers:
            self._headers = state.default_headers
            self._common = b"".join([b"%b: %b\r\n" % header for header in self._headers])
        return self._common


class Connection(HttpToolsProtocol):
    """One connection. Either uvicorn is at work on it, or a plain request is: never both."""

    # By door: a head that one of them knows has a key that is good for that one.
    _shared_by: ClassVar[WeakKeyDictionary[Door, Shared]] = WeakKeyDictionary()

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on as they are
        super().__init__(*arguments, **options)
        self._door = cast("Door", self.app)
        self._shared = self._shared_by.setdefault(self._door, Shared())
        self._settings = self._door.settings
        self._fast = self._settings.fast_door and not self._settings.traces
        # Of the plain request at work: its head while its body arrives, then its entry until it is answered.
        self._plain: PlainHead | None = None
        self._plain_bytes: list[bytes] = []
        self._missing = 0
        self._entry: Entry | None = None
        self._started = 0.0
        self._held: list[bytes] = []
        self._stopping = False
        # Of uvicorn's parser: where in a request it is, and how many bytes have told it nothing yet.
        self._in_message = False
        self._in_head = False
        self._idle_bytes = 0
        self._fed_bytes = 0
        self._candidate: bytes | None = None
        self._refusal: Problem | None = None
        self._running: RequestResponseCycle | None = None
        # Of the clock.
        self._since = 0.0
        self._waits_for_first = True
        self._watch: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # The plain path

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a plain request, or else for uvicorn."""
        if self._refusal is not None:
            return
        if self._plain is not None:
            self._receive(self._plain, data)
        elif self._entry is not None:
            self._held.append(data)
            self.flow.pause_reading()
        elif not (self._fast and self._is_free() and self._begin_plain(data)):
            self._pass_on(data)

    def _is_free(self) -> bool:
        if self._in_message or self.flow.write_paused or self.transport.is_closing():
            return False
        return self.cycle is None or self.cycle.response_complete

    def _begin_plain(self, data: bytes) -> bool:
        """Take a request whose head is known; else see to it that it may be known the next time."""
        end = data.find(b"\r\n\r\n", 0, MAX_BYTES) + 4
        if end < 4:
            return False
        head = data[:end]
        plain = self._shared.known.get(head)
        if plain is None:
            self._candidate = head
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._started = perf_counter()
        self._waits_for_first = False
        if len(data) == end + plain.content_length:
            return self._submit(plain, data)
        self._plain = plain
        self._missing = end + plain.content_length
        self._receive(plain, data)
        return True

    def _receive(self, plain: PlainHead, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing > 0:
            if not self._plain_bytes:
                self._since = self.loop.time()
            self._plain_bytes.append(data)
            return
        if self._missing < 0:  # the next request came with it
            self._held.append(data[self._missing :])
            data = data[: self._missing]
        if self._plain_bytes:
            data = b"".join((*self._plain_bytes, data))
            self._plain_bytes.clear()
        self._plain = None
        if not self._submit(plain, data):
            self._pass_on(data)
            self._take_held()

    def _submit(self, plain: PlainHead, data: bytes) -> bool:
        """Queue the rows; false where another door has to say why not."""
        if self._door.is_full():
            return False
        try:
            _, model, version = plain.target
            served = self._door.resolver.served(model, version)
            level = served.level(plain.interval)
            rows = served.columns.from_json(data[len(data) - plain.content_length :])
            reply = partial(self._reply, plain.target[0], served, level)
            entry = Entry(rows, self._started + plain.timeout_seconds, reply)
            self._queue(served, level, entry)
        except (Problem, EngineError):
            return False
        self._entry = entry
        self._door.requests += 1
        return True

    def _queue(self, served: Served, level: Level | None, entry: Entry) -> None:
        try:
            served.submit(entry, level)
        except Refused as error:
            # Said from here, in the next turn: another door would read all of it again, in time that the model needs.
            served.engine.executions.failed.add(0.0)
            entry.error = error
            self.loop.call_soon(_tell, entry)

    def _reply(self, route: str, served: Served, level: Level | None, entry: Entry) -> None:
        self._entry = None
        self._door.requests -= 1
        try:
            outcome: Answer | Problem = answer(served, level, entry)
        except Problem as problem:
            outcome = problem
        reply = self._door.reply(route, served, outcome, request_id.make(), self._started)
        self._write(reply, close=self._stopping)
        self.server_state.total_requests += 1
        self._since = self.loop.time()
        self._take_held()

    def _take_held(self) -> None:
        if self._held and not self.transport.is_closing():
            held = b"".join(self._held)
            self._held.clear()
            self.flow.resume_reading()
            self.data_received(held)

    def _write(self, reply: Reply, *, close: bool) -> None:
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        common = self._shared.common_headers(self.server_state)
        self.transport.write(b"".join((STATUS_LINE[reply.status], common, reply.head(), end, reply.body)))
        if close:
            self.transport.close()

    # What uvicorn's parser finds

    def _pass_on(self, data: bytes) -> None:
        self._idle_bytes += len(data)
        self._fed_bytes = self._idle_bytes
        super().data_received(data)
        self._candidate = None
        # A header or a trailer without an end is kept by the parser: nothing that it calls would notice.
        if self._idle_bytes > self._settings.max_head_bytes and not self.transport.is_closing():
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins; its head has to arrive in time."""
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._waits_for_first = False
        self._idle_bytes = 0
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Its head is whole: refuse it, or learn it, and let uvicorn go on."""
        if self._head_is_too_large():
            self._refusal = HeadTooLarge(self._settings.max_head_bytes)
            raise self._refusal
        if self.parser.get_http_version() not in {"1.0", "1.1"}:
            self._refusal = NotParseable("this is no HTTP/1 request")
            raise self._refusal
        self._in_head = False
        self._idle_bytes = 0
        self._since = self.loop.time()
        super().on_headers_complete()
        self.headers = []  # what follows a chunked body is no header of this request
        if self._stopping:
            self.cycle.keep_alive = False
        if self._candidate is not None:
            plain = plain_head(
                self._candidate, cast("Scope", self.scope), self.parser, self._settings, self._door.access
            )
            if plain is not None:
                self._shared.known.learn(self._candidate, plain)
        self._candidate = None

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
        self._in_message = False
        self._idle_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Uvicorn has answered; what could not be read behind that request is refused now."""
        self._since = self.loop.time()
        super().on_response_complete()
        if self._refusal is not None and not self.pipeline:
            self._refuse(self._refusal)

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch = self.loop.call_later(self._settings.head_timeout_seconds, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and so is the wish for its rows."""
        if self._entry is not None:
            self._door.requests -= 1
            self._entry.cancel()
        for timer in (self._watch, self._unread):
            if timer is not None:
                timer.cancel()
        # uvicorn tells the last of several pipelined requests only, and the others would write to nobody.
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes its answer slower than it is written; it has to take it in time."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._settings.answer_timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken nearly all of it."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's own
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def shutdown(self) -> None:
        """The server stops: close after the answer, or in a moment, as a request may be on its way."""
        self._stopping = True
        if self._is_idle():
            self.loop.call_later(_LAST_REQUEST_SECONDS, self._close_if_idle)
        elif self._plain is None and self._entry is None:
            super().shutdown()

    def _is_idle(self) -> bool:
        at_work = self._plain is not None or self._entry is not None or self._in_message
        return not at_work and (self.cycle is None or self.cycle.response_complete)

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What cannot be read gets a problem."""
        limit = self._settings.max_head_bytes
        too_large = self._idle_bytes > limit
        self._refuse_in_turn(HeadTooLarge(limit) if too_large else NotParseable(f"this is no HTTP request: {msg}"))

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
            reply = self._door.reply(OTHER, None, problem, request_id.make(), perf_counter() - waited)
            self._write(reply, close=True)

    def _check_time(self) -> None:
        """Close a connection on which a request does not arrive in time, or on which none comes any more."""
        settings = self._settings
        if self.transport.is_closing():  # once its client has taken the last answer, should it ever do so
            self._watch = self.loop.call_later(settings.answer_timeout_seconds, self.transport.abort)
            return
        arriving = self._plain is not None or self._in_message
        if arriving:
            limit = settings.head_timeout_seconds if self._in_head else settings.body_timeout_seconds
        elif self._entry is not None or (self.cycle is not None and not self.cycle.response_complete):
            limit = math.inf
        else:
            limit = settings.head_timeout_seconds if self._waits_for_first else settings.keep_alive_seconds
        left = self._since + limit - self.loop.time()
        if left > 0:
            pause = min(left, settings.head_timeout_seconds, settings.body_timeout_seconds)
            self._watch = self.loop.call_later(pause, self._check_time)
        elif arriving:
            self._refuse_in_turn(ReceiveTimeout(limit))
        else:
            self.transport.close()

"""The fast door, under uvicorn: a plain prediction is answered from its connection, with no task and no ASGI messages.

A request is plain when its head is, byte for byte, one that uvicorn's parser has read before and in which nothing
unusual was found: the same bytes mean the same again, so that nothing is parsed. Whatever is not plain, and whatever
goes wrong before its rows are queued, goes through uvicorn to the portable door.

The connection also bounds what uvicorn does not: how long a request may take to arrive, and how large its head may be.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service import media, request_id
from service.door import Door, Reply, Target, predict_target, problem_reply
from service.entry import EngineError, Entry
from service.predict import TIMEOUT_HEADER, Answer, answer, timeout_seconds
from service.problems import HeadTooLarge, NotParseable, Problem, ReceiveTimeout
from service.store import Served

_MOST_KNOWN_HEADS = 4096
_LONGEST_PLAIN_HEAD = 2048
_HARMLESS = {b"host", b"user-agent", b"accept", b"accept-encoding", b"content-type", b"content-length", b"connection"}


@dataclass(frozen=True, slots=True)
class PlainHead:
    """What a known head says: whose prediction it asks for, how long its body is, and how long it may take."""

    target: Target
    content_length: int
    timeout_seconds: float


class Shared:
    """What the connections of a process have in common: the plain heads, and the headers of every response."""

    def __init__(self) -> None:
        self.plain_heads: dict[bytes, PlainHead] = {}
        self._headers: list[tuple[bytes, bytes]] = []
        self._common = b""

    def learn(self, head: bytes, plain: PlainHead) -> None:
        """Know this head from now on; when there are too many, all the others are forgotten."""
        if len(self.plain_heads) >= _MOST_KNOWN_HEADS:
            self.plain_heads.clear()
        self.plain_heads[head] = plain

    def common_headers(self, state: ServerState) -> bytes:
        """The lines of uvicorn's own headers, which it makes anew each second."""
        if state.default_headers is not self._headers:
            self._headers = state.default_headers
            self._common = b"".join([b"%b: %b\r\n" % header for header in self._headers])
        return self._common


class Connection(HttpToolsProtocol):
    """One connection. Either uvicorn is at work on it, or a plain request is: never both."""

    _shared = Shared()

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on as they are
        super().__init__(*arguments, **options)
        self._door = cast("Door", self.app)
        self._settings = self._door.settings
        self._fast = self._settings.fast_door
        # Of the plain request at work: its head while its body arrives, then its entry until it is answered.
        self._plain: PlainHead | None = None
        self._plain_bytes: list[bytes] = []
        self._missing = 0
        self._entry: Entry | None = None
        self._started = 0.0
        self._held: list[bytes] = []
        self._stopping = False
        # Of uvicorn's parser.
        self._candidate: bytes | None = None
        self._in_message = False
        self._in_head = True
        self._head_bytes = 0
        self._fed = 0
        self._refusal: Problem | None = None
        self._since = 0.0
        self._watch: asyncio.TimerHandle | None = None

    # The plain path

    def data_received(self, data: bytes) -> None:
        """Bytes came: of a plain request, or else for uvicorn."""
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
        end = data.find(b"\r\n\r\n", 0, _LONGEST_PLAIN_HEAD) + 4
        if end < 4:
            return False
        head = data[:end]
        plain = self._shared.plain_heads.get(head)
        if plain is None:
            self._candidate = head
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._started = perf_counter()
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
        try:
            served = self._door.resolver.served(*plain.target)
            rows = served.columns.from_json(data[len(data) - plain.content_length :])
            entry = Entry(rows, partial(self._reply, served), self._started + plain.timeout_seconds)
            served.engine.submit(entry)
        except (Problem, EngineError):
            return False
        self._entry = entry
        return True

    def _reply(self, served: Served, entry: Entry) -> None:
        self._entry = None
        try:
            outcome: Answer | Problem = answer(served, entry)
        except Problem as problem:
            outcome = problem
        self._write(self._door.reply(served, outcome, request_id.make(), self._started), close=self._stopping)
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
        self._fed = self._head_bytes + len(data)
        super().data_received(data)
        self._candidate = None
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self._settings.max_head_bytes:
                self._refuse(HeadTooLarge(self._settings.max_head_bytes))

    def on_message_begin(self) -> None:
        """A request begins; it has to arrive in time."""
        super().on_message_begin()
        self._in_message = self._in_head = True
        self._head_bytes = 0
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Its head is whole: refuse it, or learn it, and let uvicorn go on."""
        self._in_head = False
        if self._head_size() > self._settings.max_head_bytes:
            self._refusal = HeadTooLarge(self._settings.max_head_bytes)
            raise self._refusal
        super().on_headers_complete()
        self._since = self.loop.time()
        if self._candidate is not None:
            plain = self._plain_head(self._candidate)
            if plain is not None:
                self._shared.learn(self._candidate, plain)
        self._candidate = None

    def _head_size(self) -> int:
        # A head that came in a small piece is small: no need to add it up.
        if self._fed <= self._settings.max_head_bytes:
            return self._fed
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_message_complete(self) -> None:
        """It has arrived."""
        super().on_message_complete()
        self._in_message = False

    def _plain_head(self, head: bytes) -> PlainHead | None:
        """What the head says, if there is nothing unusual in it."""
        headers = dict(self.headers)
        unusual = (
            not head.startswith(b"POST ")
            or not head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n")  # so it ends where it seems to
            or len(headers) != len(self.headers)
            or not headers.keys() <= {*_HARMLESS, TIMEOUT_HEADER}
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
            or self.parser.should_upgrade()
            or b"?" in self.url
            or not headers.get(b"content-length", b"").isdigit()
        )
        target = predict_target(self.scope["path"])
        if unusual or target is None or int(headers[b"content-length"]) > self._settings.max_body_bytes:
            return None
        try:
            media.check_json(headers.get(b"content-type"), None)
            media.negotiate(headers.get(b"accept"), [media.JSON])
            timeout = timeout_seconds(headers.get(TIMEOUT_HEADER), self._settings)
        except Problem:
            return None
        return PlainHead(target, int(headers[b"content-length"]), timeout)

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch = self.loop.call_later(self._settings.head_timeout_seconds, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and so is the wish for its rows."""
        if self._entry is not None:
            self._entry.cancel()
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: close at once, or after the answer."""
        self._stopping = True
        if self._plain is None and self._entry is None:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets a problem too."""
        self._refuse(self._refusal or NotParseable(f"this is no HTTP request: {msg}"))

    def _refuse(self, problem: Problem) -> None:
        self._write(problem_reply(problem, request_id.make()), close=True)

    def _check_time(self) -> None:
        """Close a connection on which a request does not arrive in time, or on which none comes any more."""
        if self.transport.is_closing():
            return
        arriving = self._plain is not None or self._in_message
        working = self._entry is not None or (self.cycle is not None and not self.cycle.response_complete)
        if arriving:
            limit = self._settings.head_timeout_seconds if self._in_head else self._settings.body_timeout_seconds
        else:
            limit = float("inf") if working else float(self.timeout_keep_alive)
        left = self._since + limit - self.loop.time()
        if left > 0:
            self._watch = self.loop.call_later(min(left, self._settings.head_timeout_seconds), self._check_time)
        elif arriving and not working:
            self._refuse(ReceiveTimeout(limit))
        else:
            self.transport.close()

"""The fast door, under uvicorn: a plain prediction is answered from its connection, with no task and no ASGI messages.

A request is plain when its head is, byte for byte, one that uvicorn's parser has read before and in which nothing
unusual was found: the same bytes mean the same again, so that nothing is parsed. Whatever is not plain goes through
uvicorn to the portable door.
"""

from functools import partial
from time import perf_counter
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

import numpy as np
from starlette.types import Scope

from service import request_id
from service.bounded import BoundedConnection
from service.door import Door
from service.entry import EngineError, Entry
from service.intervals import Level
from service.plain import MAX_BYTES, KnownHeads, PlainHead, plain_head
from service.predict import Answer, answer, parse, problem
from service.problems import Problem
from service.served import Served

_NO_ROWS = np.empty((0, 1), dtype=np.float32)
# uvicorn waits twice as long before it looks whether all connections are closed.
_LAST_REQUEST_SECONDS = 0.05


class Connection(BoundedConnection):
    """One connection. Either uvicorn is at work on it, or a plain request is: never both."""

    # By door: a head that one of them knows has a key that is good for that one.
    _known_by: ClassVar[WeakKeyDictionary[Door, KnownHeads]] = WeakKeyDictionary()

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own, passed on as they are
        super().__init__(*arguments, **options)
        self._known = self._known_by.setdefault(self._door, KnownHeads())
        self._fast = self._settings.fast_door and not self._settings.traces
        # Of the plain request at work: its head while its body arrives, then its entry until it is answered.
        self._plain: PlainHead | None = None
        self._plain_bytes: list[bytes] = []
        self._missing = 0
        self._taken = 0
        self._entry: Entry | None = None
        self._started = 0.0
        self._held: list[bytes] = []
        # Of one at uvicorn's: the head that may turn out to be plain.
        self._candidate: bytes | None = None
        self._stopping = False

    def _receives(self) -> bool:
        return self._plain is not None or super()._receives()

    def _answers(self) -> bool:
        return self._entry is not None or super()._answers()

    def _owes(self) -> bool:
        return self._entry is not None or super()._owes()

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
        plain = self._known.get(head)
        if plain is None or plain.access is not self._door.keyring.access:
            self._candidate = head
            return False
        if self._door.is_full() or not self._take(end + plain.content_length - len(data)):
            return False
        self._door.requests += 1
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._started = perf_counter()
        self._waits_for_first = False
        if len(data) == end + plain.content_length:
            self._submit(plain, data)
        else:
            self._plain = plain
            self._missing = end + plain.content_length
            self._receive(plain, data)
        return True

    def _take(self, missing: int) -> bool:
        """Take what is missing of a body from the budget; false where another door has to wait for room."""
        if missing <= 0:
            return True
        self._taken = missing if self._door.budget.take_now(missing) else 0
        return self._taken > 0

    def _give(self) -> None:
        self._door.budget.give(self._taken)
        self._taken = 0

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
        if self._taken:
            self._give()
        self._submit(plain, data)

    def _submit(self, plain: PlainHead, data: bytes) -> None:
        """Queue the rows, or answer with what is wrong in the next turn, after what else came in this one."""
        served = None
        route, model, version = plain.target
        try:
            served = self._door.resolver.served(model, version)
            level = served.level(plain.interval)
            rows = parse(served, level, data[len(data) - plain.content_length :])
            self._entry = Entry(rows, self._started + plain.timeout_seconds, partial(self._reply, route, served, level))
            served.submit(self._entry, level)
        except Problem as wrong:
            self._refuse_plain(route, served, wrong)
        except EngineError as error:
            self._refuse_plain(route, served, problem(error))

    def _refuse_plain(self, route: str, served: Served | None, wrong: Problem) -> None:
        self._entry = Entry(_NO_ROWS)
        self.loop.call_soon(self._end_plain, self._entry, route, served, wrong)

    def _reply(self, route: str, served: Served, level: Level | None, entry: Entry) -> None:
        try:
            outcome: Answer | Problem = answer(served, level, entry)
        except Problem as wrong:
            outcome = wrong
        self._end_plain(entry, route, served, outcome)

    def _end_plain(self, entry: Entry, route: str, served: Served | None, outcome: Answer | Problem) -> None:
        if entry.cancelled:
            return
        self._entry = None
        self._door.requests -= 1
        reply = self._door.reply(route, served, outcome, request_id.make(), self._started)
        self._write(reply, close=self._stopping)
        self.server_state.total_requests += 1
        self._since = self.loop.time()
        self._take_held()
        self._close_if_done()

    def _take_held(self) -> None:
        if self._held and not self.transport.is_closing():
            held = b"".join(self._held)
            self._held.clear()
            self.flow.resume_reading()
            self.data_received(held)

    # What uvicorn does

    def _pass_on(self, data: bytes) -> None:
        super().data_received(data)
        self._candidate = None

    def _take_head(self) -> None:
        """Let uvicorn go on with a good head, and learn it."""
        candidate, self._candidate = self._candidate, None
        super()._take_head()
        if self._stopping:
            self.cycle.keep_alive = False
        if candidate is not None:
            plain = plain_head(
                candidate, cast("Scope", self.scope), self.parser, self._settings, self._door.keyring.access
            )
            if plain is not None:
                self._known.learn(candidate, plain)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and so is its wish for its rows."""
        if self._entry is not None or self._plain is not None:
            self._door.requests -= 1
        if self._entry is not None:
            self._entry.cancel()
        self._give()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: close after the answer, or in a moment, as a request may be on its way."""
        self._stopping = True
        if self._is_idle():
            self.loop.call_later(_LAST_REQUEST_SECONDS, self._close_if_idle)
        elif self._plain is None and self._entry is None:
            super().shutdown()

    def _is_idle(self) -> bool:
        return not self._receives() and not self._answers()

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

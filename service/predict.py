"""One prediction request, from headers and body to its answer, as every door makes it; knows no web framework."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service import body
from service.entry import Closed, Entry, Expired, Refused, Rows
from service.problems import (
    MAX_FAULTS,
    DeadlinePassed,
    Failed,
    Fault,
    Overloaded,
    Problem,
    Unavailable,
    WrongValues,
    pointer,
)
from service.settings import Settings
from service.store import Served

TIMEOUT_HEADER = b"x-request-timeout-ms"

log = logging.getLogger("calibrant.predict")


@dataclass(slots=True)
class Answer:
    """A good answer: its JSON, how many of its rows are out of range, and the entry that knows how it went."""

    body: bytes
    out_of_range: int
    entry: Entry

    def server_timing(self) -> bytes:
        """https://www.w3.org/TR/server-timing/, in milliseconds."""
        return b"wait;dur=%.3f, model;dur=%.3f" % (self.entry.waited * 1000, self.entry.ran * 1000)


async def predict(served: Served, headers: Mapping[bytes, bytes], receive: Receive, settings: Settings) -> Answer:
    """Answer one request whose headers say JSON; raises Problem, or ClientDisconnect where nobody waits any more."""
    deadline = perf_counter() + timeout_seconds(headers.get(TIMEOUT_HEADER), settings)
    content = await body.read(receive, headers.get(b"content-length"), settings.max_body_bytes)
    return answer(served, await settled(served, served.columns.from_json(content), deadline, receive))


async def settled(served: Served, rows: Rows, deadline: float, receive: Receive) -> Entry:
    """What came of these rows in the engine; raises Problem, or ClientDisconnect where nobody waits any more."""
    settled: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
    entry = Entry(rows, settled.set_result, deadline)
    try:
        if served.engine.submit(entry):
            await settled
        else:
            await _settled_or_gone(settled, receive)
    except (asyncio.CancelledError, ClientDisconnect):
        entry.cancel()
        raise
    except (Refused, Closed) as error:
        raise problem(error) from error
    if entry.outputs is None:
        raise problem(entry.error) from entry.error
    return entry


def timeout_seconds(sent: bytes | None, settings: Settings) -> float:
    """How long a request may take: what it says, at most what the setting allows; raises WrongValues."""
    if sent is None:
        return settings.request_timeout_ms / 1000
    if not sent.isdigit() or not int(sent[:20]):
        fault = Fault(f"header: {TIMEOUT_HEADER.decode()}", "is not a whole number of milliseconds above 0")
        raise WrongValues("the request's deadline cannot be read", faults=[fault])
    return min(int(sent[:20]), settings.request_timeout_ms) / 1000


async def _settled_or_gone(settled: asyncio.Future[Entry], receive: Receive) -> None:
    """Wait for the entry; raises ClientDisconnect when its client hangs up before."""
    gone = asyncio.ensure_future(receive())
    either: list[asyncio.Future[Any]] = [settled, gone]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not settled.done():
            raise ClientDisconnect
    finally:
        gone.cancel()


def answer(served: Served, entry: Entry) -> Answer:
    """What a settled entry says to its client; raises Problem."""
    outputs, start, stop = entry.outputs, entry.start, entry.stop
    if outputs is None:
        raise problem(entry.error) from entry.error
    if bad := outputs.not_finite(start, stop):
        first = served.columns.names[0]
        faults = [Fault(pointer((first, row)), "this row's prediction is not finite") for row in bad[:MAX_FAULTS]]
        raise WrongValues("the network's answer is beyond float32", faults=faults)
    outside = outputs.outside(start, stop)
    parts: list[bytes] = []
    for before, column in zip(served.json_before_targets, outputs.json_columns(start, stop), strict=True):
        parts += (before, column)
    parts += (b'},"out_of_range":', orjson.dumps(outside) if outside else b"[]", b"}")
    return Answer(b"".join(parts), len(outside), entry)


def problem(error: Exception | None) -> Problem:
    """What a client is told of an engine's error."""
    match error:
        case Refused():
            return Overloaded("the queue is full", retry_after=error.retry_after)
        case Closed():
            return Unavailable(str(error), retry_after=1)
        case Expired():
            return DeadlinePassed(str(error))
    log.error("the model failed", exc_info=error)
    return Failed("the model failed; the service's log says why")

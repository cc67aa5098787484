"""One prediction request, from headers and body to its answer, as every door makes it; knows no web framework."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import perf_counter
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service import lacks, pieces, whole_number
from service.body import Body
from service.entry import Closed, EngineError, Entry, Expired, Refused, Rows
from service.features import Subject
from service.intervals import Level
from service.large_tables import LargeTables
from service.outputs import Outputs, write_json
from service.problems import (
    MAX_FAULTS,
    DeadlinePassed,
    Failed,
    Fault,
    Overloaded,
    Problem,
    Unavailable,
    WrongValues,
)
from service.served import Served
from service.settings import Settings
from service.tables.json import SMALL_BODY_BYTES
from service.tables.table import Places, json_places

TIMEOUT_HEADER = b"x-request-timeout-ms"


@dataclass(slots=True)
class Answer:
    """A good answer: whose it is, its body, how many of its rows are out of range, and the entry: how it went."""

    subject: Subject
    body: bytes
    out_of_range: int
    entry: Entry

    def server_timing(self) -> bytes:
        """https://www.w3.org/TR/server-timing/, in milliseconds."""
        return b"wait;dur=%.3f, model;dur=%.3f" % (self.entry.waited * 1000, self.entry.ran * 1000)


async def predict(  # noqa: PLR0913, PLR0917 - what is asked, and what reads and answers it
    served: Served,
    interval: str | None,
    headers: Mapping[bytes, bytes],
    body: Body,
    settings: Settings,
    large_tables: LargeTables,
) -> Answer:
    """Answer one request whose headers say JSON; raises Problem, or ClientDisconnect where nobody waits any more."""
    deadline = perf_counter() + timeout_seconds(headers.get(TIMEOUT_HEADER), settings)
    level = served.level(interval)
    content = await read_with_room(served, level, body, deadline)
    if len(content) <= SMALL_BODY_BYTES:
        rows = parse(served, level, content)
        return answer(served, level, await settled(served, level, rows, deadline, body.receive))
    async with large_tables.turn(body, len(content), deadline):
        rows = await large_tables.run(partial(parse, served, level, content), large=True)
        entry = await settled(served, level, rows, deadline, body.receive)
        return await large_tables.run(partial(answer, served, level, entry), large=True)


async def read_with_room(served: Served, level: Level | None, body: Body, deadline: float) -> bytes:
    """Return the body; raises Problem before the body is read where the queue has no room for even one row."""
    try:
        served.check_room(level, 1)
    except EngineError as error:
        raise problem(error) from error
    return await body.read(deadline)


def parse(served: Served, level: Level | None, content: bytes) -> Rows:
    """Return the rows of a JSON body; raises Problem, before they are read where the queue has no room for them."""
    if served.is_busy(level):
        try:
            served.check_room(level, served.columns.count(content))
        except EngineError as error:
            raise problem(error) from error
    return served.columns.from_json(content)


async def settled(  # noqa: PLR0913, PLR0917 - what is asked, until when, and how to tell
    served: Served, level: Level | None, rows: Rows, deadline: float, receive: Receive, places: Places = json_places
) -> Entry:
    """Have the engine run the rows; raises Problem where it does not, ClientDisconnect where nobody waits any more.

    `places` words where a row is, for an error.
    """
    entry = Entry(rows, deadline)
    try:
        if served.submit(entry, level):
            await asyncio.sleep(0)  # the turn that runs it comes before this task's next step
        if not entry.settled:
            await _settled_or_gone(entry, receive)
    except (asyncio.CancelledError, ClientDisconnect):
        entry.cancel()
        raise
    except (Refused, Closed) as error:
        raise problem(error) from error
    check(served, entry, places)
    return entry


def timeout_seconds(sent: bytes | None, settings: Settings) -> float:
    """How long a request may take: what it says, at most what the setting allows; raises WrongValues."""
    if sent is None:
        return settings.request_timeout_ms / 1000
    if not (milliseconds := whole_number.read(sent)):
        fault = Fault(f"header: {TIMEOUT_HEADER.decode()}", "is not a whole number of milliseconds above 0")
        raise WrongValues("the request's deadline cannot be read", faults=[fault])
    return min(milliseconds, settings.request_timeout_ms) / 1000


async def _settled_or_gone(entry: Entry, receive: Receive) -> None:
    """Wait for the entry; raises ClientDisconnect when its client hangs up before."""
    settled: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
    entry.reply = settled.set_result
    gone = asyncio.ensure_future(receive())
    either: list[asyncio.Future[Any]] = [settled, gone]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not settled.done():
            raise ClientDisconnect
    finally:
        gone.cancel()


def check(served: Served, entry: Entry, places: Places = json_places) -> Outputs:
    """The outputs of a settled entry; raises Problem where it has none, or where a prediction is not finite."""
    outputs = entry.outputs
    if outputs is None:
        raise problem(entry.error) from entry.error
    if not outputs.finite and (bad := outputs.not_finite(entry.start, entry.stop)):
        where = places(bad[:MAX_FAULTS], served.columns.names[0])
        faults = [Fault(place, "this row's prediction is not finite") for place in where]
        raise WrongValues("the network's answer is beyond float32", faults=faults)
    return outputs


def answer(served: Served, level: Level | None, entry: Entry) -> Answer:
    """What a settled entry says to its client; raises Problem."""
    outputs = check(served, entry)
    outside = outputs.outside(entry.start, entry.stop)
    rows = write_json(outside) if len(outside) else b"[]"
    columns = outputs.json_columns(entry.start, entry.stop)
    if level is None:
        written = pieces.filled(served.json_answer, (*columns, rows))
    else:
        written = pieces.filled(served.json_interval_answer, (*_with_level(columns, level), rows))
    return Answer(served.subject, written, len(outside), entry)


def _with_level(columns: list[bytes], level: Level) -> list[bytes]:
    """Predictions, the level, then each target's bounds."""
    count = len(columns) // 3
    bounds = zip(columns[count : 2 * count], columns[2 * count :], strict=True)
    stated = [orjson.dumps(level.coverage), orjson.dumps(level.guaranteed)]
    return [*columns[:count], *stated, *chain.from_iterable(bounds)]


def problem(error: Exception | None) -> Problem:
    """What a client is told of an engine's error."""
    match error:
        case Refused():
            return Overloaded("the queue is full", retry_after=error.retry_after)
        case Closed():
            return Unavailable(str(error), retry_after=1)
        case Expired():
            return DeadlinePassed(str(error))
    if lacks.is_passing(error):
        return Unavailable("there was too little memory for this request", retry_after=1)
    return Failed("the model failed; the service's log says why")

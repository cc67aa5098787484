"""Requests that offer another protocol, cut into two segments at every byte and into more at random, and heads that two
readers could understand in two ways: each answer belongs to its request, and no body is read as a request.

A request is known again by its number of rows. Bodies that look like requests would get an answer of their own.

Planted: a proxy that takes what follows an offer for the next request.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from raw import Answer, answers, chunked, post, split
from soak.case import Case, Soak
from soak.load import DOORS
from soak.models import publish
from soak.processes import serving_behind
from soak.wire import Line

Form: TypeAlias = tuple[Callable[..., bytes], tuple[str, ...], str]

_AT_ONCE = 32
_PAUSE_SECONDS = 0.002
_LIMIT_SECONDS = 5
_OFFERS = (
    ("connection: upgrade", "upgrade: websocket"),
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    ("upgrade: a", "UPGRADE: b", "connection: keep-alive", "Connection: x,UPGRADE"),
    ("connection: upgrade", "upgrade: h2c", "expect: 100-continue"),
)
_REQUEST = b"GET /models/smuggled HTTP/1.1\r\nhost: smuggled\r\n\r\n"
_START = b"POST /predict HTTP/1.1\r\nhost: soak\r\n"
_OFFER = b"connection: upgrade\r\nupgrade: h2c\r\n"
_ODD = (
    _START + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    _START + _OFFER + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    _START + _OFFER + b"content-length: 5\r\ncontent-length: 5\r\n\r\n12345",
    _START + _OFFER + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    _START + _OFFER + b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    _START + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    _START + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    _START + b"transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 5\r\n\r\n",
    _START + b"transfer-encoding: chunked\r\n\r\n5;x\n12345\r\n0\r\n\r\n",
    _START + b"host: again\r\ncontent-length: 0\r\n\r\n",
    _START + b"expect: 200-ok\r\ncontent-length: 0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    b"POST /predict HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"CONNECT soak:80 HTTP/1.1\r\nhost: soak:80\r\n\r\n",
    b"CONNECT soak:80 HTTP/1.1\r\nhost: soak:80\r\n" + _OFFER + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is sent on one connection, and what has to come back: rows for a good answer, REFUSED for another one."""

    pieces: list[bytes]
    expected: list[int]


REFUSED = -1


@dataclass
class Seen:
    """How much was sent, and which answers were not those of the requests."""

    trials: int = 0
    segments: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"{self.trials} connections, {self.segments} segments"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        return f"{self.trials - len(self.wrong)} with the answers of their requests, {len(self.wrong)} without"


def faults(seen: Seen) -> list[str]:
    """Name the first connection whose answers were wrong."""
    return [f"{len(seen.wrong)} connections got other answers, such as {seen.wrong[0]}"] if seen.wrong else []


def observe(soak: Soak) -> Seen:
    """Every cut of two forms or of all, some random ones, and what is odd."""
    cuts, pieces = _cuts(_FORMS[: soak.count(2, len(_FORMS))]), _pieces(soak.count(100, 20_000))
    return _observed(soak, "", itertools.chain(cuts, pieces, _oddities()))


def planted(soak: Soak) -> Seen:
    """A few random ones."""
    return _observed(soak, "loses-bodies", _pieces(20))


def _observed(soak: Soak, fault: str, trials: Iterable[Trial]) -> Seen:
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    with serving_behind(artifacts, fault) as (_, asked):
        return asyncio.run(_tried(asked.url, trials))


def _rows(count: int, *headers: str, last: bool = False) -> bytes:
    return post(_table(count), *headers, *(["connection: close"] if last else []))


def _table(count: int) -> bytes:
    return json.dumps({"fahrenheit": [50.0] * count}).encode()


# A form, an offer, and the door of the request behind it: the first two are most unlike each other.
_FORMS: tuple[Form, ...] = (
    (post, _OFFERS[1], DOORS[0]),
    (chunked, _OFFERS[0], DOORS[1]),
    *((make, offer, door) for make in (post, chunked) for offer in _OFFERS for door in DOORS),
)


def _cuts(forms: Iterable[Form]) -> Iterator[Trial]:
    """An offer and two requests behind it, in two segments: each cut of the first, and of the second one's start."""
    for make, offer, door in forms:
        first = make(_table(1), *offer)
        whole = first + _rows(2, *door.split("\r\n")[:-1]) + _rows(3, last=True)
        for place in range(1, len(first) + 20):
            yield Trial(split(whole, [place]), [1, 2, 3])


def _pieces(count: int) -> Iterator[Trial]:
    """Four requests with and without an offer, some with a body that looks like a request, in up to twelve pieces."""
    chance = random.Random(0)
    for _ in range(count):
        requests, expected = [], []
        for rows in range(1, 5):
            offer = chance.choice(((), *_OFFERS))
            smuggles = chance.random() < 0.25
            body = _REQUEST if smuggles else _table(rows)
            requests.append(chance.choice((post, chunked))(body, *offer))
            expected.append(REFUSED if smuggles else rows)
        whole = b"".join(requests) + _rows(5, last=True)
        yield Trial(split(whole, chance.sample(range(1, len(whole)), chance.randint(0, 11))), [*expected, 5])


def _oddities() -> Iterator[Trial]:
    """What is ambiguous, alone and behind a good request, with requests behind it that must not be read."""
    for odd, before in itertools.product(_ODD, ((), (1,), (1, 2))):
        good = b"".join(_rows(rows) for rows in before)
        expected = [*before, REFUSED]
        whole = good + odd + _REQUEST * 2
        for place in (0, len(good) + len(odd), len(good) + len(odd) // 2):
            yield Trial(split(whole, [place]), expected)


async def _tried(url: str, trials: Iterable[Trial]) -> Seen:
    seen, left = Seen(), iter(trials)

    async def one_after_the_other() -> None:
        for trial in left:
            seen.trials += 1
            seen.segments += len(trial.pieces)
            found = await _asked(url, trial)
            if found != trial.expected:
                seen.wrong.append(f"{found} for {trial.expected}, of {trial.pieces!r:.300}")

    await asyncio.gather(*(one_after_the_other() for _ in range(_AT_ONCE)))
    return seen


async def _asked(url: str, trial: Trial) -> list[int] | str:
    line = await Line.opened(url)
    reading = asyncio.create_task(_until_closed(line))
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            with contextlib.suppress(ConnectionError):
                for piece in trial.pieces:
                    line.writer.write(piece)
                    await asyncio.sleep(_PAUSE_SECONDS)
            return [_outcome(answer) for answer in answers(await reading) if answer.status != 100]
    except (TimeoutError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        reading.cancel()
        line.close()


async def _until_closed(line: Line) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await line.reader.read(65536):
            got += data
    return got


def _outcome(answer: Answer) -> int:
    if answer.status != 200:
        return REFUSED if answer.status in {400, 417, 501} else answer.status
    return len(json.loads(answer.body)["predictions"]["celsius"])


CASE = Case("upgrades", observe, faults, planted)

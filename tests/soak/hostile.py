"""A thousand connections that send one header byte a second, bodies that stop half-way, a body in a million chunks,
20 MB of headers, readers that never read: others see no failure, all of it ends in time, and the memory returns.

Planted: a proxy that serves one connection at a time.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from soak.case import Case, Soak
from soak.load import Load, Tally, loaded, one_of
from soak.models import MODEL, celsius, publish
from soak.processes import Process, resident_kib, serving_behind
from soak.wire import Line, parsed, read_message, request, table

_SLOW_CONNECTIONS = 1000
_HALF_BODIES = 200
_CHUNKS = 1_000_000
_HEAD_BYTES = 20 * 2**20
_READERS = 50
_READER_ROWS = 200_000
# Room for all of the readers' rows: a full queue is another case.
_QUEUE_ROWS = 2 * _READERS * _READER_ROWS
_LIMIT_SECONDS = 3
_FLAGS = [
    flag
    for limit in ("head-timeout", "body-timeout", "answer-timeout")
    for flag in (f"--{limit}-seconds", str(_LIMIT_SECONDS))
] + ["--keep-alive-seconds", str(_LIMIT_SECONDS), "--max-queue-rows", str(_QUEUE_ROWS)]
_SLACK_SECONDS = 5
_ATTACK_SECONDS = 20
_NEIGHBOURS = 2
_NEIGHBOUR_SECONDS = 1.0
# An allocator's noise; what the readers alone are owed is four times as much.
_KEPT_KIB = 24 * 1024


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of bad client: what it got, and how long the service put up with it."""

    name: str
    ended_in: float
    limit: float
    got: str


@dataclass
class Seen:
    """The attacks, what their neighbours saw meanwhile, and the memory before and after."""

    tally: Tally
    attacks: list[Attack] = field(default_factory=list)
    slowest: float = 0.0
    before_kib: int = 0
    most_kib: int = 0
    after_kib: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"{', '.join(attack.name for attack in self.attacks)}; {self.tally.answered} good requests meanwhile"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        attacks = ", ".join(f"{attack.got} after {attack.ended_in:.1f} s" for attack in self.attacks)
        memory = f"{self.before_kib // 1024} MiB, at most {self.most_kib // 1024}, then {self.after_kib // 1024}"
        return f"{attacks}; neighbours: {self.tally}, slowest {self.slowest:.2f} s; memory {memory}"


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = list(seen.faults)
    late = [attack for attack in seen.attacks if attack.ended_in > attack.limit]
    found += [f"{attack.name}: it ended only after {attack.ended_in:.1f} s" for attack in late]
    if seen.tally.other or seen.tally.lost or seen.tally.wrong:
        found.append(f"the neighbours saw {seen.tally}")
    if seen.slowest > _NEIGHBOUR_SECONDS:
        found.append(f"a neighbour waited for {seen.slowest:.2f} s")
    if seen.after_kib > seen.before_kib + _KEPT_KIB:
        found.append(f"{(seen.after_kib - seen.before_kib) // 1024} MiB stayed")
    return found


def observe(soak: Soak) -> Seen:
    """All of them, one kind after the other."""
    return _observed(soak, "", (_slow_heads, _half_bodies, _many_chunks, _large_heads, _no_readers) * soak.count(1, 3))


def planted(soak: Soak) -> Seen:
    """A few half bodies are enough."""
    return _observed(soak, "one-at-a-time", (partial(_half_bodies, count=2),))


_Kind = Callable[[str, Process], Awaitable[Attack]]


def _observed(soak: Soak, fault: str, kinds: tuple[_Kind, ...]) -> Seen:
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    with serving_behind(artifacts, fault, *_FLAGS) as (service, asked):
        check = one_of({"1": celsius(artifacts / MODEL / "1")})
        return asyncio.run(_attacked(service, asked.url, kinds, Load(asked.url, _NEIGHBOURS, check)))


async def _attacked(service: Process, url: str, kinds: tuple[_Kind, ...], load: Load) -> Seen:
    seen = Seen(load.tally)
    # Once before, as what the first large requests leave with the allocator is no leak.
    await _many_chunks(service.url, service)
    await _no_readers(service.url, service)
    await asyncio.sleep(1)
    seen.before_kib = resident_kib(service.process.pid)
    weighing = asyncio.create_task(_weigh(service.process.pid, seen))
    async with loaded(load):
        for kind in kinds:
            try:
                async with asyncio.timeout(_ATTACK_SECONDS):
                    seen.attacks.append(await kind(url, service))
            except TimeoutError:
                seen.faults.append(f"an attack did not end within {_ATTACK_SECONDS} s")
    weighing.cancel()
    await asyncio.sleep(_LIMIT_SECONDS)
    seen.after_kib = resident_kib(service.process.pid)
    seen.slowest = load.slowest
    return seen


async def _weigh(pid: int, seen: Seen) -> None:
    while True:
        seen.most_kib = max(seen.most_kib, await asyncio.to_thread(resident_kib, pid))
        await asyncio.sleep(0.2)


async def _end_of(line: Line) -> bytes:
    """Whatever comes until the service hangs up."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await line.reader.read(65536):
            got += data
    line.close()
    return got


def _statuses(answers: list[bytes]) -> str:
    found = sorted({answer.split(b" ", 2)[1].decode() if answer else "closed" for answer in answers})
    return f"{len(answers)} x {'/'.join(found)}"


async def _slow_heads(url: str, _: Process) -> Attack:
    started = time.monotonic()
    lines = [await Line.opened(url) for _ in range(_SLOW_CONNECTIONS)]

    async def drip(line: Line) -> bytes:
        ended = asyncio.create_task(_end_of(line))
        with contextlib.suppress(ConnectionError):
            for byte in request(b"{}", "/predict"):
                line.writer.write(bytes([byte]))
                if (await asyncio.wait([ended], timeout=1))[0]:
                    break
        return await ended

    answers = await asyncio.gather(*map(drip, lines))
    limit = _LIMIT_SECONDS + _SLACK_SECONDS
    return Attack(f"{len(lines)} slow heads", time.monotonic() - started, limit, _statuses(answers))


async def _half_bodies(url: str, _: Process, count: int = _HALF_BODIES) -> Attack:
    started = time.monotonic()
    whole = request(table([50.0] * 1000), "/predict")
    lines = [await Line.opened(url) for _ in range(count)]
    for line in lines:
        line.writer.write(whole[: len(whole) // 2])
    try:
        answers = await asyncio.gather(*map(_end_of, lines))
    finally:
        for line in lines:
            line.close()
    limit = _LIMIT_SECONDS + _SLACK_SECONDS
    return Attack(f"{len(lines)} half bodies", time.monotonic() - started, limit, _statuses(answers))


async def _many_chunks(url: str, _: Process) -> Attack:
    """Each with one byte."""
    started = time.monotonic()
    body = b'{"fahrenheit":[' + b"50," * ((_CHUNKS - 20) // 3) + b"50]}"
    line = await Line.opened(url)
    line.writer.write(
        b"POST /predict HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for start in range(0, len(body), 10_000):
        line.writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in body[start : start + 10_000]))
        await line.writer.drain()
    line.writer.write(b"0\r\n\r\n")
    head, content = await read_message(line.reader)
    line.close()
    status = parsed(head)[0]
    assert status != 200 or content.count(b",") > _CHUNKS // 4
    return Attack(f"{len(body)} chunks", time.monotonic() - started, 60.0, str(status))


async def _large_heads(url: str, _: Process) -> Attack:
    started = time.monotonic()
    line = await Line.opened(url)
    with contextlib.suppress(ConnectionError):
        line.writer.write(b"GET /livez HTTP/1.1\r\nhost: soak\r\n")
        for number in range(_HEAD_BYTES // 1000):
            line.writer.write(b"x-%d: %b\r\n" % (number, b"x" * 990))
            await line.writer.drain()
    answer = await _end_of(line)
    return Attack("20 MB of headers", time.monotonic() - started, _SLACK_SECONDS, _statuses([answer]))


async def _no_readers(url: str, service: Process) -> Attack:
    """They ask for much, and take nothing. No client can see that it was given up: the service's descriptors say it."""
    started = time.monotonic()
    before = service.descriptors()
    whole = request(table([50.0] * _READER_ROWS), "/predict")
    lines = [await Line.opened(url) for _ in range(_READERS)]
    for line in lines:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        line.writer.write(whole)
    for line in lines:
        await line.writer.drain()
    held = service.descriptors() - before
    while service.descriptors() > before and time.monotonic() - started < 60:
        await asyncio.sleep(0.2)
    for line in lines:
        line.writer.transport.abort()
    left = max(0, service.descriptors() - before)
    return Attack(f"{len(lines)} readers", time.monotonic() - started, 30.0, f"{held} held, {left} left")


CASE = Case("hostile clients", observe, faults, planted)

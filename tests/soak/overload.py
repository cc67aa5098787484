"""Offered load of 1, 2 and 10 times the capacity: good answers stay within 90 % of those at 1; every refusal says
when to come back, and there are as many as /metrics counts; 99 of 100 good answers come within the deadline; /livez,
/readyz and /metrics answer throughout; a second after the load it is as before.

Planted: a proxy that takes Retry-After out of every refusal.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from soak.case import Case, Soak
from soak.models import publish
from soak.processes import Process, serving_behind
from soak.wire import Line, Lost, ask, table

# So large a network and so many rows that the model is what is busy, and neither the sockets nor the JSON.
_HIDDEN = "1024,1024"
_ROWS = 1000
_QUEUED_REQUESTS = 10
_DEADLINE_MS = 2000
_MEASURING_CONNECTIONS = 8
_SHARE_OF_GOOD = 0.9
_PROBE_SECONDS = 0.5
_BODY = table([20.0 + row * 0.1 for row in range(_ROWS)])
_HEADERS = f"x-request-timeout-ms: {_DEADLINE_MS}\r\n"
_REFUSED = 'calibrant_problems_total{kind="overloaded"}'
_FACTORS = (1, 2, 10)
# Each level comes in turn, so that what else the machine does falls on all of them.
_ROUNDS = 4


@dataclass
class Level:
    """One offered load, in requests a second, and what came of it in all rounds."""

    factor: int
    rate: float
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    without_retry_after: int = 0
    counted: float = 0.0
    good_seconds: list[float] = field(default_factory=list)
    probe_seconds: list[float] = field(default_factory=list)
    bad_probes: int = 0

    def __str__(self) -> str:
        """For the table."""
        answers = f"{self.good_rate:.0f} good/s, {self.statuses[503]} refused ({self.counted:.0f} counted)"
        return (
            f"{self.factor}x: {answers}, p99 {self.p99:.2f} s, slowest probe {max(self.probe_seconds, default=0):.2f} s"
        )

    @property
    def good_rate(self) -> float:
        """Good answers a second."""
        return self.statuses[200] / self.seconds

    @property
    def p99(self) -> float:
        """Of good answers, in seconds."""
        return sorted(self.good_seconds)[int(len(self.good_seconds) * 0.99)] if self.good_seconds else 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Each level, and how long a request took after them."""

    capacity: float
    levels: list[Level]
    recovered_seconds: float

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        offered = ", ".join(f"{sum(level.statuses.values())} at {level.factor}x" for level in self.levels)
        return f"requests of {_ROWS} rows, capacity {self.capacity:.0f}/s: {offered}"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        levels = "; ".join(map(str, self.levels))
        return f"{levels}; good again after {self.recovered_seconds:.2f} s"


def observe(soak: Soak) -> Seen:
    """The real one."""
    return _observed(soak, max(6.0, soak.seconds(0.1)), _FACTORS, "")


def planted(soak: Soak) -> Seen:
    """At ten times, a moment."""
    return _observed(soak, 1.0, (10,), "no-retry-after")


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    least = _SHARE_OF_GOOD * seen.levels[0].good_rate
    for level in seen.levels:
        at = f"at {level.factor}x"
        if level.good_rate < least:
            found.append(f"{at} {level.good_rate:.0f} good answers a second, less than {least:.0f}")
        if level.lost or set(level.statuses) - {200, 503}:
            found.append(f"{at} {level.lost} lost, and answers {dict(level.statuses)}")
        if level.without_retry_after:
            found.append(f"{at} {level.without_retry_after} refusals without Retry-After")
        if level.counted != level.statuses[503]:
            found.append(f"{at} {level.statuses[503]} refusals, and {level.counted:.0f} in the metric")
        if level.p99 > _DEADLINE_MS / 1000:
            found.append(f"{at} p99 is {level.p99:.2f} s")
        if level.bad_probes or max(level.probe_seconds, default=0) > _PROBE_SECONDS:
            slowest = max(level.probe_seconds, default=0)
            found.append(f"{at} {level.bad_probes} probes failed, the slowest took {slowest:.2f} s")
    if seen.recovered_seconds > 1:
        found.append(f"it recovered after {seen.recovered_seconds:.2f} s")
    return found


def _observed(soak: Soak, seconds: float, factors: tuple[int, ...], fault: str) -> Seen:
    artifacts = soak.folder / "artifacts"
    publish(artifacts, "--hidden", _HIDDEN, epochs=1)
    with serving_behind(artifacts, fault, "--max-queue-rows", str(_ROWS * _QUEUED_REQUESTS)) as (service, asked):
        return asyncio.run(_offered(service, asked.url, seconds, factors))


async def _offered(service: Process, url: str, seconds: float, factors: tuple[int, ...]) -> Seen:
    capacity = await _capacity(url, seconds)
    levels = [Level(factor, capacity * factor) for factor in factors]
    for _ in range(_ROUNDS):
        for level in levels:
            await _offer(service, url, level, seconds / _ROUNDS)
    started = time.monotonic()
    while (await ask(url, _BODY, headers=_HEADERS)).status != 200:
        await asyncio.sleep(0.05)
    return Seen(capacity, levels, time.monotonic() - started)


async def _capacity(url: str, seconds: float) -> float:
    """Good answers a second when a few ask again as soon as they are answered."""
    good, ends = 0, time.monotonic() + seconds

    async def asks() -> None:
        nonlocal good
        line = await Line.opened(url)
        while time.monotonic() < ends:
            answer = await line.ask(_BODY, headers=_HEADERS)
            good += answer.status == 200
        line.close()

    await asyncio.gather(*[asks() for _ in range(_MEASURING_CONNECTIONS)])
    return good / seconds


async def _offer(service: Process, url: str, level: Level, seconds: float) -> None:
    before = await asyncio.to_thread(service.metric, _REFUSED)
    idle: list[Line] = []
    probing = asyncio.create_task(_probe(service.url, level))
    started = time.monotonic()
    asked = []
    for number in range(int(level.rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / level.rate - time.monotonic()))
        asked.append(asyncio.create_task(_ask(url, idle, level)))
    await asyncio.gather(*asked)
    level.seconds += time.monotonic() - started
    probing.cancel()
    for line in idle:
        line.close()
    level.counted += await asyncio.to_thread(service.metric, _REFUSED) - before


async def _ask(url: str, idle: list[Line], level: Level) -> None:
    try:
        line = idle.pop() if idle else await Line.opened(url)
        answer = await line.ask(_BODY, headers=_HEADERS)
    except (Lost, OSError):
        level.lost += 1
        return
    if line.open:
        idle.append(line)
    level.statuses[answer.status] += 1
    if answer.status == 200:
        level.good_seconds.append(answer.seconds)
    elif not answer.headers.get("retry-after", "").isdigit():
        level.without_retry_after += 1


async def _probe(url: str, level: Level) -> None:
    line = await Line.opened(url)
    while True:
        for path in ("/livez", "/readyz", "/metrics"):
            answer = await line.ask(path=path)
            level.bad_probes += answer.status != 200
            level.probe_seconds.append(answer.seconds)
        await asyncio.sleep(0.1)


CASE = Case("overload", observe, faults, planted)

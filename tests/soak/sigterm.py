"""SIGTERM under load, in the lame-duck time, while loading, with a half-sent body, twice in a row, with one process
and with two: the end comes in bounded time with the documented status, and every request that was taken is answered.

Planted: a proxy that dies of SIGTERM at once, with requests in it.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak.case import Case, Soak
from soak.load import Load, Tally, loaded, one_of
from soak.models import MODEL, celsius, publish
from soak.processes import Process, misbehaving, serving, until
from soak.wire import Line, ask, request, table

_CONNECTIONS = 16
_SHUTDOWN_SECONDS = 2
_LAME_DUCK_SECONDS = 1.5
_SLACK_SECONDS = 3
_BY_SIGTERM, _WORKERS = -signal.SIGTERM, 0
_MOST_SECONDS = 60
_IMPORTING_SECONDS = 0.5
_BETWEEN_SECONDS = 0.7  # a parent looks at its signals twice a second


@dataclass(frozen=True, slots=True)
class Stop:
    """One way to stop, and what came of it; `limit` and `wanted` are what the documentation says."""

    how: str
    status: int
    wanted: int
    seconds: float
    limit: float
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """All of them, and what the load saw in them."""

    stops: list[Stop]
    answered: int

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return (
            f"SIGTERM {len(self.stops)} times: {', '.join(stop.how for stop in self.stops)}; {self.answered} requests"
        )

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        return ", ".join(f"status {stop.status} after {stop.seconds:.1f} s" for stop in self.stops)


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    for stop in seen.stops:
        if stop.status != stop.wanted:
            found.append(f"{stop.how}: status {stop.status}, not {stop.wanted}")
        if stop.seconds > stop.limit:
            found.append(f"{stop.how}: it took {stop.seconds:.1f} s, more than {stop.limit:g}")
        found += [f"{stop.how}: {fault}" for fault in stop.faults]
    return found


def observe(soak: Soak) -> Seen:
    """Every way, with one process, and the load with two as well."""
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    tally = Tally()
    stops = [_stopped_at_start(artifacts, listens=listens) for listens in (False, True)]
    ways: list[tuple[str, _Way, int]] = [
        ("under load", _under_load, 1), ("under load", _under_load, 2), ("as a lame duck", _lame_duck, 1),
        ("as a lame duck", _lame_duck, 2), ("with a half-sent body", _half_sent, 1), ("twice", _twice, 1),
        ("twice", _twice, 2),
    ]  # fmt: skip
    for how, way, workers in ways * soak.count(1, 10):
        stops.append(_stopped(artifacts, f"{how}, {workers} process{'es'[: 2 * workers - 2]}", way, workers, tally))
    return Seen(stops, tally.answered)


def planted(soak: Soak) -> Seen:
    """Under load."""
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    tally = Tally()
    with serving(artifacts) as service:
        service.until_ready()
        with misbehaving("none", service.url, soak.folder) as proxy:
            stop = asyncio.run(_under_load(proxy, artifacts, tally, _BY_SIGTERM))
    return Seen([stop], tally.answered)


_Way = Callable[[Process, Path, Tally, int], Coroutine[Any, Any, Stop]]


def _stopped(artifacts: Path, how: str, way: _Way, workers: int, tally: Tally) -> Stop:
    flags = ["--workers", str(workers), "--shutdown-timeout-seconds", str(_SHUTDOWN_SECONDS)]
    if way in {_lame_duck, _twice}:
        flags += ["--lame-duck-seconds", str(_LAME_DUCK_SECONDS if way is _lame_duck else _MOST_SECONDS)]
    with serving(artifacts, *flags) as service:
        service.until_ready()
        stop = asyncio.run(way(service, artifacts, tally, _WORKERS if workers > 1 else _BY_SIGTERM))
        return Stop(how, stop.status, stop.wanted, stop.seconds, stop.limit, stop.faults)


async def _end(service: Process, started: float) -> tuple[int, float]:
    try:
        status = await asyncio.to_thread(service.process.wait, _MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return 999, float(_MOST_SECONDS)
    return status, time.monotonic() - started


async def _under_load(service: Process, artifacts: Path, tally: Tally, wanted: int) -> Stop:
    load = Load(service.url, _CONNECTIONS, one_of({"1": celsius(artifacts / MODEL / "1")}), tally)
    lost = len(tally.lost)
    async with loaded(load):
        await asyncio.sleep(1)
        load.reconnects = False
        started = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        status, seconds = await _end(service, started)
    found = [f"{len(tally.lost) - lost} requests were not answered"] if len(tally.lost) > lost else []
    if tally.other or tally.wrong:
        found.append(str(tally))
    return Stop("under load", status, wanted, seconds, _SHUTDOWN_SECONDS + _SLACK_SECONDS, tuple(found))


async def _lame_duck(service: Process, artifacts: Path, tally: Tally, wanted: int) -> Stop:
    """It says that it is not ready, and goes on answering: also on new connections."""
    found = []
    started = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(_MOST_SECONDS):
        while (await ask(service.url, path="/readyz")).status == 200:
            await asyncio.sleep(0.02)
    late = time.monotonic() - started
    if late > _LAME_DUCK_SECONDS / 2:
        found.append(f"it was still ready after {late:.1f} s")
    answer = await ask(service.url, table([50.0]))
    tally.statuses[answer.status] += 1
    if answer.status != 200:
        found.append(f"a lame duck answered {answer.status}")
    status, seconds = await _end(service, started)
    if seconds < _LAME_DUCK_SECONDS:
        found.append(f"it served on for {seconds:.1f} s only")
    limit = _LAME_DUCK_SECONDS + _SHUTDOWN_SECONDS + _SLACK_SECONDS
    return Stop("as a lame duck", status, wanted, seconds, limit, tuple(found))


async def _half_sent(service: Process, artifacts: Path, tally: Tally, wanted: int) -> Stop:
    """One body ends in time, and is answered; another one never ends, and is not waited for too long."""
    body = table([50.0] * 1000)
    whole = request(body, "/predict")
    ends, never = await Line.opened(service.url), await Line.opened(service.url)
    for line in (ends, never):
        line.writer.write(whole[:-100])
    await ask(service.url, path="/livez")  # so they have been read too
    started = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(_SHUTDOWN_SECONDS / 4)
    ends.writer.write(whole[-100:])
    head = b""
    with contextlib.suppress(OSError, EOFError, TimeoutError):
        async with asyncio.timeout(_MOST_SECONDS):
            head = await ends.reader.readuntil(b"\r\n")
    tally.statuses[200] += 1
    found = [] if b" 200 " in head else ["the body that ended in time was not answered"]
    status, seconds = await _end(service, started)
    for line in (ends, never):
        line.close()
    return Stop("half-sent", status, wanted, seconds, _SHUTDOWN_SECONDS + _SLACK_SECONDS, tuple(found))


async def _twice(service: Process, artifacts: Path, tally: Tally, wanted: int) -> Stop:
    """The second one ends the lame-duck time."""
    started = time.monotonic()
    for _ in range(2):
        service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(_BETWEEN_SECONDS)
    status, seconds = await _end(service, started)
    return Stop("twice", status, wanted, seconds, 2 * _BETWEEN_SECONDS + _SHUTDOWN_SECONDS + _SLACK_SECONDS)


def _stopped_at_start(artifacts: Path, *, listens: bool) -> Stop:
    """While torch is imported, or while the model is loaded."""
    log = artifacts.parent / "start.log"
    command = [sys.executable, "-m", "service", "serve", "--artifacts", str(artifacts), "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        if listens:
            until(lambda: "running on" in log.read_text(), "listening")
        else:
            time.sleep(_IMPORTING_SECONDS)
        started = time.monotonic()
        process.terminate()
        status = process.wait(_MOST_SECONDS)
    finally:
        process.kill()
    how = "while it loads the model" if listens else "while it starts"
    return Stop(how, status, _BY_SIGTERM, time.monotonic() - started, _SLACK_SECONDS)


CASE = Case("SIGTERM", observe, faults, planted)

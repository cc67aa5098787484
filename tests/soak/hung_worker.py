"""One of three workers is stopped, another is killed, under load; then SIGTERM comes while one is stopped: each is
replaced within its bound, whatever the others do, nobody is refused, and the end comes in time.

Planted: a proxy that now and then gives no answer, and no worker that was stopped or killed.
"""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field

from soak.case import Case, Soak
from soak.load import Load, Tally, loaded, one_of
from soak.models import MODEL, celsius, publish
from soak.processes import Process, serving_behind

_CONNECTIONS = 12
_WORKERS = 3
_TIMEOUT_SECONDS = 2
_SHUTDOWN_SECONDS = 1
_DEAD_SECONDS = 2.0
_SLACK_SECONDS = 3.0
_MOST_SECONDS = 60


@dataclass
class Seen:
    """How long a dead and a hung worker stayed without another one, how the service ended, and what the load saw."""

    tally: Tally
    lines: int = 0
    dead: list[float] = field(default_factory=list)
    hung: list[float] = field(default_factory=list)
    status: int | None = None
    ended: float = 0.0

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"{self.tally.answered} requests, {len(self.hung)} workers stopped, {len(self.dead)} killed, SIGTERM"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        dead, hung = (", ".join(f"{seconds:.1f} s" for seconds in each) for each in (self.dead, self.hung))
        end = f"status {self.status} after {self.ended:.1f} s"
        return f"{self.tally}; dead replaced after {dead}, hung after {hung}; {end}"


def observe(soak: Soak) -> Seen:
    """One stopped and one killed, again and again."""
    return _observed(soak, soak.count(1, 10), "")


def planted(soak: Soak) -> Seen:
    """None of either."""
    return _observed(soak, 0, "drops")


def faults(seen: Seen) -> list[str]:
    """What must not be; what was in flight in a worker that ends is lost, at most one request on each connection."""
    found = [f"a dead worker was replaced after {took:.1f} s" for took in seen.dead if took > _DEAD_SECONDS]
    late = _TIMEOUT_SECONDS + _SLACK_SECONDS
    found += [f"a hung worker was replaced after {took:.1f} s" for took in seen.hung if took > late]
    if len(seen.tally.lost) > len(seen.hung) * seen.lines:
        found.append(f"{len(seen.tally.lost)} requests were lost")
    if seen.tally.other or seen.tally.wrong:
        found.append(f"other answers than good ones: {seen.tally}")
    if seen.status != 0 or seen.ended > _SHUTDOWN_SECONDS + _SLACK_SECONDS:
        found.append(f"SIGTERM: status {seen.status} after {seen.ended:.1f} s")
    return found


def _observed(soak: Soak, times: int, fault: str) -> Seen:
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    flags = ["--workers", str(_WORKERS), "--worker-timeout-seconds", str(_TIMEOUT_SECONDS)]
    flags += ["--shutdown-timeout-seconds", str(_SHUTDOWN_SECONDS)]
    with serving_behind(artifacts, fault, *flags) as (service, asked):
        load = Load(asked.url, _CONNECTIONS, one_of({"1": celsius(artifacts / MODEL / "1")}), pause_seconds=0.01)
        seen = Seen(load.tally, _CONNECTIONS)
        asyncio.run(_loaded(service, load, seen, times))
        _end(service, seen)
    return seen


async def _loaded(service: Process, load: Load, seen: Seen, times: int) -> None:
    async with loaded(load):
        await asyncio.sleep(1)
        for _ in range(times):
            hung, killed, *_ = service.workers()
            os.kill(hung, signal.SIGSTOP)
            os.kill(killed, signal.SIGKILL)
            started = time.monotonic()
            seen.dead.append(await _until_replaced(service, killed, started))
            seen.hung.append(await _until_replaced(service, hung, started))
            await asyncio.to_thread(service.until_ready)
        await asyncio.sleep(1)


async def _until_replaced(service: Process, pid: int, started: float) -> float:
    async with asyncio.timeout(_MOST_SECONDS):
        while pid in (now := service.workers()) or len(now) < _WORKERS:
            await asyncio.sleep(0.02)
    return time.monotonic() - started


def _end(service: Process, seen: Seen) -> None:
    stopped = service.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    started = time.monotonic()
    service.process.terminate()
    seen.status = service.process.wait(_MOST_SECONDS)
    seen.ended = time.monotonic() - started
    with contextlib.suppress(ProcessLookupError):
        os.kill(stopped, signal.SIGCONT)


CASE = Case("hung worker", observe, faults, planted)

"""kill -9 of one of two workers under load, also with a broken newest version: another takes its place in seconds, only
the requests in flight in it are lost, nobody is refused, and the client of this project loses none.

Planted: a proxy that now and then gives no answer, and no worker that was killed.
"""

import asyncio
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from service.client import AsyncClient, ClientError
from soak.case import Case, Soak
from soak.load import Load, Tally, loaded, one_of
from soak.models import FAHRENHEIT, MODEL, agree, celsius, publish, publish_broken
from soak.processes import Process, serving_behind

_CONNECTIONS = 16
_CLIENTS = 4
_BACK_SECONDS = 10


@dataclass
class Seen:
    """What the load saw, what was in flight at each kill, how long a new worker took, and what the clients got."""

    tally: Tally
    in_flight: int = 0
    back: list[float] = field(default_factory=list)
    calls: int = 0
    failed_calls: list[str] = field(default_factory=list)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        load = f"{self.tally.answered} requests on {_CONNECTIONS} connections, {self.calls} calls of {_CLIENTS} clients"
        return f"{load}, {len(self.back)} kills"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        back = ", ".join(f"{seconds:.1f} s" for seconds in self.back)
        return f"{self.tally} of {self.in_flight} in flight; back after {back}; {len(self.failed_calls)} calls failed"


def observe(soak: Soak) -> Seen:
    """The first kill with good versions only, those after it with a broken newest one."""
    return _observed(soak, soak.count(2, 20), "")


def planted(soak: Soak) -> Seen:
    """No kill."""
    return _observed(soak, 0, "drops")


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = [f"a worker was back only after {seconds:.1f} s" for seconds in seen.back if seconds > _BACK_SECONDS]
    if len(seen.tally.lost) > seen.in_flight:
        found.append(f"{len(seen.tally.lost)} requests were lost, and {seen.in_flight} in flight")
    if seen.tally.other or seen.tally.wrong:
        found.append(f"other answers than good ones: {seen.tally}")
    if seen.failed_calls:
        found.append(f"{len(seen.failed_calls)} of the client's calls failed: {seen.failed_calls[0]}")
    return found


def _observed(soak: Soak, kills: int, fault: str) -> Seen:
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    with serving_behind(artifacts, fault, "--workers", "2", "--refresh-seconds", "0.2") as (service, asked):
        return asyncio.run(_loaded(service, asked.url, artifacts, kills))


async def _loaded(service: Process, url: str, artifacts: Path, kills: int) -> Seen:
    answers = {"1": celsius(artifacts / MODEL / "1")}
    load = Load(url, _CONNECTIONS, one_of(answers))
    seen = Seen(load.tally)
    async with loaded(load), AsyncClient(url, timeout=60) as client:
        calls = [asyncio.create_task(_call(client, load, answers["1"], seen)) for _ in range(_CLIENTS)]
        await asyncio.sleep(1)
        for number in range(kills):
            if number == 1:
                await asyncio.to_thread(publish_broken, artifacts, 1)
            await _killed(service, load, seen)
        await asyncio.sleep(1)
        load.stopped = True
        await asyncio.gather(*calls)
    return seen


async def _call(client: AsyncClient, load: Load, expected: list[float], seen: Seen) -> None:
    while not load.stopped:
        seen.calls += 1
        try:
            found = await client.predict({"fahrenheit": list(FAHRENHEIT)}, model=MODEL, version=1)
        except ClientError as error:
            seen.failed_calls.append(f"{type(error).__name__}: {error}")
        else:
            if not agree(found["celsius"], expected):
                seen.failed_calls.append(f"it was told {found['celsius']}")
        await asyncio.sleep(0.01)


async def _killed(service: Process, load: Load, seen: Seen) -> None:
    before = dict(load.processes)
    os.kill(service.workers()[0], signal.SIGKILL)
    killed = time.monotonic()
    async with asyncio.timeout(_BACK_SECONDS * 4):
        while set(load.processes.values()) <= set(before.values()):
            await asyncio.sleep(0.02)
    seen.back.append(time.monotonic() - killed)
    await asyncio.sleep(0.5)  # whoever still lives has answered each of its lines since
    living = set(load.processes.values())
    seen.in_flight += sum(process not in living for process in before.values())


CASE = Case("killed worker", observe, faults, planted)

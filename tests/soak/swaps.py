"""Fifty swaps under full load, every tenth new version broken in another way: not one response other than 200, and
every response's values belong to the version that it names.

Planted: a proxy that now and then gives an answer the name of another version.
"""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from soak.case import Case, Soak
from soak.load import Load, Tally, loaded, one_of
from soak.models import BREAKS, MODEL, distinct
from soak.processes import Process, serving_behind
from soak.wire import ask
from training.publish import set_label

_SWAPS = 50
_BROKEN_EVERY = 10
_CONNECTIONS = 8
_SWAP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What the load saw, and how far the swaps came."""

    tally: Tally
    swaps: int
    broken: int
    back: int

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        load = f"{self.tally.answered} requests on {_CONNECTIONS} connections"
        return f"{load}, {self.swaps} swaps, {self.back} labels moved back"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        return f"{self.tally}; {self.broken} broken versions did not go live"


def observe(soak: Soak) -> Seen:
    """The real one."""
    return _observed(soak, _SWAPS, "")


def planted(soak: Soak) -> Seen:
    """A few swaps are enough."""
    return _observed(soak, 3, "other-version")


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    if seen.tally.other or seen.tally.lost:
        found.append(f"not every response was 200: {seen.tally}")
    if seen.tally.wrong:
        found.append(f"{len(seen.tally.wrong)} wrong answers, such as {seen.tally.wrong[0]}")
    return found


def _observed(soak: Soak, swaps: int, fault: str) -> Seen:
    waiting, artifacts = soak.folder / "waiting", soak.folder / "artifacts"
    answers = distinct(waiting, swaps + 1)
    (artifacts / MODEL).mkdir(parents=True)
    shutil.move(waiting / MODEL / "1", artifacts / MODEL / "1")
    with serving_behind(artifacts, fault, "--refresh-seconds", "0.1") as (service, asked):
        return asyncio.run(_swapped(service, asked.url, waiting / MODEL, artifacts, answers))


async def _swapped(service: Process, url: str, waiting: Path, artifacts: Path, answers: dict[str, list[float]]) -> Seen:
    broken = 0
    async with loaded(Load(url, _CONNECTIONS, one_of(answers))) as load:
        for number in range(2, len(answers) + 1):
            breaks = number % _BROKEN_EVERY == 0
            if breaks:
                BREAKS[broken % len(BREAKS)](waiting / str(number))
                broken += 1
            await asyncio.to_thread((waiting / str(number)).rename, artifacts / MODEL / str(number))
            await _until(service, number, "failed" if breaks else "ready")
        # The label goes back to the first version, and forth.
        last = len(answers) - (len(answers) % _BROKEN_EVERY == 0)
        for version in (1, last, 1):
            await asyncio.to_thread(set_label, artifacts, MODEL, "champion", version)
            await _until_default(service, version)
    return Seen(load.tally, len(answers) - 1, broken, 2)


async def _until(service: Process, number: int, state: str) -> None:
    async with asyncio.timeout(_SWAP_SECONDS):
        while True:
            document = (await ask(service.url, path=f"/models/{MODEL}")).json()
            if any(one["version"] == str(number) and one["state"] == state for one in document["versions"]):
                return
            await asyncio.sleep(0.02)


async def _until_default(service: Process, number: int) -> None:
    async with asyncio.timeout(_SWAP_SECONDS):
        while (await ask(service.url, path="/parameters?values=false")).json()["version"] != str(number):
            await asyncio.sleep(0.02)


CASE = Case("swaps", observe, faults, planted)

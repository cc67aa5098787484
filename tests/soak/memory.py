"""Memory: after a warm-up under mixed load, that of each process has no slope beyond noise, with one process and with
two.

The slope is the median of those between all pairs of samples (Theil and Sen); what it adds up to over the time that
was watched has to stay below 4 MiB. Planted: a proxy that keeps what it answered.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from soak.case import Case, Soak
from soak.load import Load, Tally, loaded, one_of
from soak.models import MODEL, celsius, publish
from soak.processes import Process, resident_kib, serving_behind
from soak.wire import Line, Lost, table

_NOISE_KIB = 4 * 1024
_SAMPLES = 60
_CONNECTIONS = 4
_WARM_UP_SHARE = 0.5
_OTHERS: tuple[tuple[str, bytes | None], ...] = (
    ("/predict", table([50.0] * 5000)), ("/predict", b'{"fahrenheit":["x"]}'), ("/predict", b"{"),
    ("/parameters", None), ("/models", None), ("/metrics", None), ("/nowhere", None), ("/report", None),
    ("/v2/models/thermometer/infer", b'{"inputs":[{"name":"fahrenheit","shape":[1],"datatype":"FP32","data":[50.0]}]}'),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Growth:
    """A process, what it weighed in the middle, and what its slope adds up to over the time."""

    name: str
    kib: float
    grown_kib: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Every process, and what the load saw."""

    seconds: float
    growths: list[Growth]
    tally: Tally

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"mixed load for {self.seconds:.0f} s after a warm-up, {self.tally.answered} predictions among it"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        return ", ".join(f"{one.name} {one.kib / 1024:.0f} MiB {one.grown_kib / 1024:+.2f}" for one in self.growths)


def observe(soak: Soak) -> Seen:
    """One process, then two workers."""
    one, two = (_observed(soak, workers, soak.seconds(0.12), "") for workers in (1, 2))
    return Seen(one.seconds, one.growths + two.growths, two.tally)


def planted(soak: Soak) -> Seen:
    """A moment is enough: it is the planted server that is weighed."""
    return _observed(soak, 1, 4.0, "leaks")


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = [
        f"{one.name} grew by {one.grown_kib / 1024:.1f} MiB in {seen.seconds:.0f} s"
        for one in seen.growths
        if one.grown_kib > _NOISE_KIB
    ]
    if seen.tally.other or seen.tally.lost or seen.tally.wrong:
        found.append(f"the load saw {seen.tally}")
    return found


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs."""
    return median((b - a) / (later - earlier) for (earlier, a), (later, b) in combinations(samples, 2))


def _observed(soak: Soak, workers: int, seconds: float, fault: str) -> Seen:
    artifacts = soak.folder / f"artifacts-{workers}"
    publish(artifacts)
    with serving_behind(artifacts, fault, "--workers", str(workers)) as (_, weighed):
        return asyncio.run(
            _watched(weighed, seconds, Load(weighed.url, _CONNECTIONS, one_of({"1": celsius(artifacts / MODEL / "1")})))
        )


async def _watched(weighed: Process, seconds: float, load: Load) -> Seen:
    async with loaded(load):
        other = asyncio.create_task(_others(load))
        await asyncio.sleep(seconds * _WARM_UP_SHARE)
        loop = asyncio.get_running_loop()
        samples: dict[int, list[tuple[float, float]]] = {pid: [] for pid in weighed.workers()}
        for _ in range(_SAMPLES):
            for pid, own in samples.items():
                own.append((loop.time(), await asyncio.to_thread(resident_kib, pid)))
            await asyncio.sleep(seconds / _SAMPLES)
        load.stopped = True
        await other
    growths = [
        Growth(
            f"{len(samples)} processes, pid {pid}:",
            median(kib for _, kib in own),
            slope(own) * (own[-1][0] - own[0][0]),
        )
        for pid, own in samples.items()
    ]
    return Seen(seconds, growths, load.tally)


async def _others(load: Load) -> None:
    """Everything else that clients do, on a new connection for each round."""
    while not load.stopped:
        line = await Line.opened(load.url)
        try:
            for path, body in _OTHERS:
                await line.ask(body, path)
        except Lost as lost:
            load.tally.lost.append(str(lost))
        line.close()


CASE = Case("memory", observe, faults, planted)

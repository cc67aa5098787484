"""A publisher killed at 50 random moments, a full disk, clocks moved by a year, a version deleted while it serves:
every answer is right, no version is ever seen half-written, and the next publisher succeeds.

Planted: a publisher that copies its files straight to where the service looks, killed half-way.
"""

import asyncio
import contextlib
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

from service import artifact
from soak.case import Case, Soak
from soak.load import Load, Tally, loaded
from soak.models import FAHRENHEIT, MODEL, agree, celsius, publish
from soak.processes import Process, serving, until
from soak.wire import Answer, ask, table

_KILLS = 20
_CONNECTIONS = 4
# So that the publishers get some of the two cores.
_PAUSE_SECONDS = 0.02
_DISK_BYTES = 512 * 1024
_YEAR_DAYS = 365
_CLOCK_SECONDS = 30


@dataclass
class Seen:
    """What the load saw throughout, and what was found after each mishap."""

    tally: Tally
    kills: int = 0
    finished: int = 0
    versions: int = 0
    known: dict[str, list[float]] = field(default_factory=dict)
    half_written: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"{self.kills} kills, {', '.join(self.done)}; {self.tally.answered} requests meanwhile"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        versions = f"{self.versions} versions, {len(self.half_written)} half-written"
        return f"{self.tally}; {versions}, {self.finished} publishers were done before the kill"


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = list(seen.faults)
    if seen.tally.other or seen.tally.lost or seen.tally.wrong:
        found.append(f"the load saw {seen.tally}: {[*seen.tally.wrong, *seen.tally.lost][:1]}")
    if seen.half_written:
        found.append(f"{len(seen.half_written)} half-written versions, such as {seen.half_written[0]}")
    return found


def observe(soak: Soak) -> Seen:
    """All four."""
    seen = Seen(Tally())
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    with serving(artifacts, "--refresh-seconds", "0.1") as service:
        service.until_ready()
        kills = _KILLS * soak.count(1, 10)
        asyncio.run(_meanwhile(service, artifacts, seen, lambda: _kill_publishers(artifacts, seen, kills)))
        _look(artifacts, service, seen)
        asyncio.run(_meanwhile(service, artifacts, seen, lambda: _delete(service, artifacts, seen)))
    _fill_disk(soak.folder / "disk", seen)
    _move_clock(artifacts, soak.folder, seen)
    return seen


def planted(soak: Soak) -> Seen:
    """The naive publisher."""
    seen = Seen(Tally())
    artifacts = soak.folder / "artifacts"
    whole = publish(artifacts)
    with serving(artifacts, "--refresh-seconds", "0.1") as service:
        service.until_ready()
        half = artifacts / MODEL / "2"
        half.mkdir()
        shutil.copy(whole / artifact.MANIFEST, half)
        until(lambda: len(service.get(f"/models/{MODEL}").json()["versions"]) == 2, "seen")
        _look(artifacts, service, seen)
    return seen


async def _meanwhile(service: Process, artifacts: Path, seen: Seen, mishaps: Callable[[], None]) -> None:
    """Do that on a thread, under load."""

    def check(answer: Answer) -> str | None:
        document = answer.json()
        version, found = document["version"], document["predictions"]["celsius"]
        if version not in seen.known:
            seen.known[version] = celsius(artifacts / MODEL / version)
        wanted = seen.known[version]
        return None if agree(found, wanted) else f"version {version} answered {found}, not {wanted}"

    async with loaded(Load(service.url, _CONNECTIONS, check, seen.tally, pause_seconds=_PAUSE_SECONDS)):
        await asyncio.to_thread(mishaps)


def _look(artifacts: Path, service: Process, seen: Seen) -> None:
    """At what the service found: nothing but whole versions."""
    there = set(map(str, artifact.versions(artifacts / MODEL)))
    versions: list[dict[str, str]] = []

    def looked_at() -> bool:
        versions[:] = service.get(f"/models/{MODEL}").json()["versions"]
        return {one["version"] for one in versions} == there and all(one["state"] != "loading" for one in versions)

    until(looked_at, "looked at")
    seen.versions = max(seen.versions, len(versions))
    seen.half_written += [f"{one['version']}: {one['reason']}" for one in versions if one["state"] != "ready"]
    seen.half_written += [path.name for path in (artifacts / MODEL).glob(".publishing-*")]


def fit(artifacts: Path, seed: int) -> None:
    """What the process runs that is killed."""
    publish(artifacts, seed=seed)


def _kill_publishers(artifacts: Path, seen: Seen, kills: int) -> None:
    """Training and torch are imported once, in the server that these processes are forked from."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    moments = random.Random(0)
    longest = 0.0
    for number in range(3 * kills):
        if seen.kills == kills:
            break
        publisher = processes.Process(target=fit, args=(artifacts, number))
        started = time.monotonic()
        publisher.start()
        # The first one shows how long it takes, the second how long without the imports.
        publisher.join(None if number < 2 else moments.uniform(0, longest))
        longest = time.monotonic() - started if number < 2 else longest
        publisher.kill()
        publisher.join()
        seen.kills += publisher.exitcode == -signal.SIGKILL
        seen.finished += publisher.exitcode == 0
    if seen.kills < kills:
        seen.faults.append(f"only {seen.kills} publishers were killed")
    publish(artifacts)


def _delete(service: Process, artifacts: Path, seen: Seen) -> None:
    for _ in range(3):
        path = publish(artifacts, seed=1000)
        seen.known[path.name] = celsius(path)
        until(lambda: _default(service) == path.name, f"version {path.name} live")  # noqa: B023 - awaited here
        shutil.rmtree(path)
        until(lambda: _default(service) != path.name, f"version {path.name} forgotten")  # noqa: B023
    seen.done.append("3 serving versions deleted")


def _default(service: Process) -> str:
    version: str = service.get(f"/models/{MODEL}").json()["default_version"]
    return version


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Only root may mount one."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill_disk(folder: Path, seen: Seen) -> None:
    with _small_disk(folder) as disk:
        artifacts = disk / "artifacts"
        first = publish(artifacts)
        filler = disk / "filler"
        with serving(artifacts, "--refresh-seconds", "0.1", log=folder.parent / "disk.log") as service:
            service.until_ready()
            with contextlib.suppress(OSError), filler.open("wb") as file:
                file.write(bytes(_DISK_BYTES))
            command = [sys.executable, "-m", "training", "fit", "--epochs", "20", "--artifacts", str(artifacts)]
            refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            last = refused.stderr.strip().rpartition("\n")[2]  # behind the bar that shows the training
            if refused.returncode == 0 or not last.startswith("error: ") or "Traceback" in refused.stderr:
                seen.faults.append(f"on a full disk training ended with {refused.returncode}: {refused.stderr[-300:]}")
            _look(artifacts, service, seen)
            _check_answer(service, celsius(first), seen)
            filler.unlink()
            path = publish(artifacts, seed=1)
            until(lambda: _default(service) == path.name, "live after the disk had room again")
    seen.done.append("a full disk")


def _check_answer(service: Process, wanted: list[float], seen: Seen) -> None:
    answer = asyncio.run(ask(service.url, table(FAHRENHEIT)))
    seen.tally.statuses[answer.status] += 1
    if answer.status == 200 and not agree(answer.json()["predictions"]["celsius"], wanted):
        seen.tally.wrong.append(str(answer.json()))


def _move_clock(artifacts: Path, folder: Path, seen: Seen) -> None:
    """With libfaketime: the service's clock, and not the one that never goes back."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        seen.faults.append(
            "no clock was moved: libfaketime is not installed (Debian, Ubuntu: apt-get install faketime)"
        )
        return
    clock = folder / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    with serving(artifacts, "--refresh-seconds", "0.1", environment=environment) as service:
        service.until_ready()
        for days in (_YEAR_DAYS, -_YEAR_DAYS, 0):
            clock.write_text(f"{days:+d}d")
            until(lambda: abs(_days_off(service) - days) < 2, f"moved by {days} days", _CLOCK_SECONDS)  # noqa: B023
            path = publish(artifacts, seed=2000 + days)
            until(lambda: _default(service) == path.name, f"live with a clock moved by {days} days")  # noqa: B023
            _check_answer(service, celsius(path), seen)
    seen.done.append("clocks moved by a year, forth and back")


def _days_off(service: Process) -> float:
    """By the date that it puts into its answers."""
    return (parsedate_to_datetime(service.get("/livez").headers["date"]).timestamp() - time.time()) / 86400


CASE = Case("publishers", observe, faults, planted)

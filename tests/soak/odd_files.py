"""Odd files of every kind come and go in the artifacts folder under load: no answer is wrong or lost, the default never
moves, each of them is named under /models, and another model's new versions go live within two seconds meanwhile.

Planted: one of the odd files is a good label that names another version, so that the default does move.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import odd
from soak.case import Case, Soak
from soak.load import Load, Tally, loaded
from soak.models import MODEL, agree, distinct, publish
from soak.processes import NotInTime, Process, serving, until
from soak.wire import Answer
from training.publish import set_label

_CONNECTIONS = 4
_PAUSE_SECONDS = 0.01
_LIVE_SECONDS = 2.0
_CHAMPION = "2"
_OTHER = "other"

Make: TypeAlias = Callable[[Path], None]
# Where something good lies that an odd file takes the place of.
_PLACES = (
    f"{MODEL}/labels/champion",
    f"{MODEL}/labels",
    "default_model.txt",
    MODEL,
    f"{MODEL}/{_CHAMPION}",
    f"{MODEL}/{_CHAMPION}/network.pt",
    f"{MODEL}/{_CHAMPION}/manifest.json",
)
# Where nothing lies.
_NEW = ("stray", f"{MODEL}/labels/stray", f"{MODEL}/9")


@dataclass
class Seen:
    """What the load saw, and what was found at each odd file."""

    tally: Tally = field(default_factory=Tally)
    steps: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"{self.steps} odd files, {self.tally.answered} requests meanwhile"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        return f"{self.tally}; another model's new versions were live within {self.slowest:.2f} s"


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = list(seen.faults)
    if seen.tally.other or seen.tally.lost or seen.tally.wrong:
        found.append(f"the load saw {seen.tally}: {[*seen.tally.wrong, *seen.tally.lost][:1]}")
    if seen.slowest > _LIVE_SECONDS:
        found.append(f"a new version of another model was live only after {seen.slowest:.2f} s")
    return found


def observe(soak: Soak) -> Seen:
    """Every kind, and in a longer run at every place."""
    return _observed(soak, list(_steps(soak.count(1, len(_PLACES)))))


def planted(soak: Soak) -> Seen:
    """A label that is not odd at all."""
    return _observed(soak, [(odd.holding(b"1\n"), _PLACES[0])])


def _steps(rounds: int) -> Iterator[tuple[Make, str]]:
    kinds = (*odd.FILES, *odd.CONTENTS)
    for number in range(rounds):
        for at, make in enumerate(kinds):
            place = _PLACES[(at + number) % len(_PLACES)]
            # A folder in the place of a folder is not odd.
            is_folder = make in (odd.folder, odd.empty_folder) and "." not in place
            yield make, f"{MODEL}/labels/champion" if is_folder else place
        # Root may read what nobody may: a new label of that kind is a good one.
        for at, make in enumerate([make for make in odd.FILES[number % 2 :: 2] if make is not odd.unreadable]):
            yield make, _NEW[(at + number) % len(_NEW)]
        yield _another_version, f"{MODEL}/{_CHAMPION}"


def _another_version(path: Path) -> None:
    """The files of a good version, under the number of another."""
    shutil.copytree(path.parent / "1", path)


def _observed(soak: Soak, steps: Sequence[tuple[Make, str]]) -> Seen:
    artifacts = soak.folder / "artifacts"
    answers = distinct(artifacts, 3)
    publish(artifacts, "--model", _OTHER)
    set_label(artifacts, MODEL, "champion", int(_CHAMPION))
    seen = Seen()
    with serving(artifacts, "--refresh-seconds", "0.1") as service:
        service.until_ready()
        until(lambda: _ready(service, 1), "ready")
        until(lambda: not _said(service), "settled")
        asyncio.run(_under_load(service, artifacts, answers[_CHAMPION], seen, steps))
    return seen


async def _under_load(
    service: Process, artifacts: Path, wanted: list[float], seen: Seen, steps: Sequence[tuple[Make, str]]
) -> None:
    def check(answer: Answer) -> str | None:
        document = answer.json()
        version, found = document["version"], document["predictions"]["celsius"]
        if version == _CHAMPION and agree(found, wanted):
            return None
        return f"version {version} answered {found}, not version {_CHAMPION} {wanted}"

    async with loaded(Load(service.url, _CONNECTIONS, check, seen.tally, pause_seconds=_PAUSE_SECONDS)):
        for number, (make, place) in enumerate(steps, 2):
            await asyncio.to_thread(_step, service, artifacts, (make, place), number, seen)


def _step(service: Process, artifacts: Path, step: tuple[Make, str], number: int, seen: Seen) -> None:
    """One odd file comes, another model's version goes live, the odd file goes."""
    make, path = step[0], artifacts / step[1]
    kept = odd.put(make, path) if os.path.lexists(path) else None
    if kept is None:
        make(path)
    try:
        until(lambda: bool(_said(service)) or bool(seen.tally.wrong), "said under /models", _LIVE_SECONDS)
        seen.slowest = max(seen.slowest, _live(service, artifacts / _OTHER, number))
    except NotInTime as late:
        seen.faults.append(f"{make.__name__} as {step[1]}: {late}")
    finally:
        if kept is None:
            odd.remove(path)
        else:
            odd.put_back(kept, path)
    until(lambda: not _said(service), "settled again")
    seen.steps += 1


def _live(service: Process, folder: Path, number: int) -> float:
    """How long the next version of the other model takes."""
    staged = folder / ".staged"
    shutil.copytree(folder / str(number - 1), staged)
    staged.rename(folder / str(number))
    shutil.rmtree(folder / str(number - 1))
    return until(lambda: _ready(service, number), f"version {number} of the other model live", 5 * _LIVE_SECONDS)


def _ready(service: Process, number: int) -> bool:
    document = service.get(f"/models/{_OTHER}").json()
    return bool(document["default_version"] == str(number))


def _said(service: Process) -> list[str]:
    """Every warning and reason."""
    document = service.get("/models").json()
    found = [*document["warnings"], *([document["error"]] if document["error"] else [])]
    for model in document["models"]:
        found += [*model["warnings"], *(one["reason"] for one in model["versions"] if one["reason"])]
    return found


CASE = Case("odd_files", observe, faults, planted)

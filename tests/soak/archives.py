"""Hundreds of archives that lie, or are cut or overwritten, each under a manifest that has its right hash, offered as
versions: the process lives, version 1 answers, and what becomes ready serves the numbers in its own file.

Planted: a proxy that changes a digit of a parameter.
"""

import json
import random
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from lying import LIES, nudged
from service import artifact
from soak.case import Case, Soak
from soak.models import FAHRENHEIT, MODEL, agree, celsius, publish
from soak.processes import NotInTime, Process, serving_behind, until
from training.publish import set_label

_AT_A_TIME = 40
_CHANGES = (*LIES, nudged)


@dataclass
class Seen:
    """What became of the versions; `leaked` are those that served what is not in their file."""

    offered: int = 0
    refused: int = 0
    ready: int = 0
    leaked: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"{self.offered} versions with a changed archive"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        return f"{self.refused} refused, {self.ready} ready with the parameters of their file; version 1 always right"


def observe(soak: Soak) -> Seen:
    """The real one."""
    return _observed(soak, soak.count(200, 2000), "")


def planted(soak: Soak) -> Seen:
    """A few."""
    return _observed(soak, _AT_A_TIME, "wrong-parameters")


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = list(seen.trouble)
    if seen.leaked:
        found.append(f"{len(seen.leaked)} versions serve what is not in their file, such as {seen.leaked[0]}")
    if not seen.trouble and seen.refused + seen.ready != seen.offered:
        found.append(f"{seen.offered - seen.refused - seen.ready} versions are neither refused nor ready")
    if not (seen.ready and seen.refused):
        found.append(f"{seen.ready} versions are ready, and {seen.refused} refused: the case proves nothing")
    return found


def _observed(soak: Soak, count: int, fault: str) -> Seen:
    artifacts = soak.folder / "artifacts"
    right = celsius(publish(artifacts))
    set_label(artifacts, MODEL, artifact.DEFAULT_LABEL, 1)
    chance, seen = random.Random(1), Seen()
    with (
        serving_behind(artifacts, fault, "--refresh-seconds", "0.1") as (service, asked),
        httpx.Client(base_url=asked.url, timeout=30) as client,
    ):
        watch = _Watch(client, artifacts / MODEL, right, seen)
        for first in range(2, count + 2, _AT_A_TIME):
            numbers = range(first, min(first + _AT_A_TIME, count + 2))
            _offer(artifacts / MODEL, numbers, chance)
            seen.offered += len(numbers)
            try:
                watch.until_tried(numbers)
            except (httpx.HTTPError, NotInTime) as error:
                seen.trouble.append(f"{type(error).__name__}: {error}; the process {_state(service)}")
                break
            _withdraw(artifacts / MODEL, numbers)
    return seen


def _offer(model: Path, numbers: Sequence[int], chance: random.Random) -> None:
    """Put the versions there, each whole at once."""
    with zipfile.ZipFile(model / "1" / artifact.NETWORK) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    for number in numbers:
        staged = model / f".offered-{number}"
        shutil.copytree(model / "1", staged)
        content = _CHANGES[number % len(_CHANGES)](chance, contents)
        (staged / artifact.NETWORK).write_bytes(content)
        manifest = json.loads((staged / artifact.MANIFEST).read_text())
        manifest["files"][artifact.NETWORK] = artifact.describe(content).model_dump()
        (staged / artifact.MANIFEST).write_text(json.dumps(manifest))
    for number in numbers:
        (model / f".offered-{number}").rename(model / str(number))


def _withdraw(model: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        (model / str(number)).rename(model / f".withdrawn-{number}")
        shutil.rmtree(model / f".withdrawn-{number}")


@dataclass(frozen=True, slots=True)
class _Watch:
    """Looks at what the service makes of the versions."""

    client: httpx.Client
    model: Path
    right: list[float]
    seen: Seen

    def until_tried(self, numbers: Sequence[int]) -> None:
        """Wait until each is tried, while version 1 answers; then compare what is served with what was offered."""
        until(lambda: self._are_tried(numbers), "tried")
        states = self._states()
        for number in numbers:
            self.seen.refused += states[number] == "failed"
            self.seen.ready += states[number] == "ready"
            if states[number] == "ready" and (name := self._leaked(number)):
                self.seen.leaked.append(f"{name} of version {number}")

    def _are_tried(self, numbers: Sequence[int]) -> bool:
        answer = self.client.post("/predict", json={"fahrenheit": FAHRENHEIT})
        if answer.status_code != 200 or not agree(answer.json()["predictions"]["celsius"], self.right):
            self.seen.trouble.append(f"version 1 answered {answer.status_code}: {answer.text[:200]}")
        states = self._states()
        return all(states.get(number) in {"ready", "failed"} for number in numbers)

    def _states(self) -> dict[int, str]:
        document = self.client.get(f"/models/{MODEL}").json()
        return {int(one["version"]): one["state"] for one in document["versions"]}

    def _leaked(self, number: int) -> str | None:
        """Return the name of a parameter whose numbers do not lie in the version's file, one behind the other."""
        content = (self.model / str(number) / artifact.NETWORK).read_bytes()
        document = self.client.get(f"/models/{MODEL}/versions/{number}/parameters").json()
        for parameter in document["parameters"]:
            if np.array(parameter["values"], "<f4").tobytes() not in content:
                return str(parameter["name"])
        return None


def _state(service: Process) -> str:
    status = service.process.poll()
    return "lives" if status is None else f"ended with {status}"


CASE = Case("archives", observe, faults, planted)

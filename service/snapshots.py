"""One file a worker with what it has counted, so that each of several processes can answer for all of them.

A worker that takes a dead one's place goes on from its file: what was counted never becomes less.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from service.counts import Counts


@dataclass(frozen=True, slots=True)
class Worker:
    """A process: what its place has counted since the service began, and what is so in it `now`."""

    name: str
    pid: int
    counts: Counts
    now: Counts

    def lives(self) -> bool:
        """Whether there is such a process."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


class Snapshots:
    """The files in a folder that all workers of a run share; `path` is this worker's."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._path = path
        self._written = b""

    def before(self) -> Counts:
        """What the worker counted whose place this one takes; nothing for the first."""
        try:
            return _read(self._path).counts
        except FileNotFoundError:
            return Counts()

    def write(self, worker: Worker) -> None:
        """Put this worker's file in place, whole, where it is not the same as before; raises OSError."""
        document = {"pid": worker.pid, "counts": worker.counts.document(), "now": worker.now.document()}
        content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        if content == self._written:
            return
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_bytes(content)
        unfinished.replace(self._path)
        self._written = content

    def others(self) -> Iterator[Worker]:
        """Every other worker as its file has it."""
        for path in sorted(self._path.parent.glob("*.json")):
            if path != self._path:
                with contextlib.suppress(FileNotFoundError):
                    yield _read(path)


def _read(path: Path) -> Worker:
    document = orjson.loads(path.read_bytes())
    return Worker(path.stem, document["pid"], Counts.read(document["counts"]), Counts.read(document["now"]))

"""Several processes on one port, each with a SO_REUSEPORT socket of its own: the kernel spreads connections evenly.

The parent keeps the sockets: what arrives before a worker runs, or while it is being replaced, waits in its socket. It
looks at all workers ten times a second, waits for none of them, and reads on the board how each of them is.
"""

import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from time import monotonic, sleep
from typing import TypeAlias

from service import listening, signals
from service.board import Board, Place
from service.credentials import Credentials, Renewal
from service.listening import Listeners
from service.settings import Settings

# What uvicorn's server ends with when the application cannot start.
STARTUP_FAILURE = 3

_LOOK_SECONDS = 0.1
# Between the last that a process holds, and its end.
_DYING_SECONDS = 0.01
# The parent itself stood still for so long, as after Ctrl-Z or on a machine that slept: so may the workers have.
_PAUSE_SECONDS = 1.0
# For a worker that starts, which imports and loads, on a machine that may be busy.
_START_SECONDS = 60.0
# Before the third attempt to start a worker and the later ones.
_AGAIN_SECONDS = 1.0
# What a process needs to end when all of its requests are answered.
_END_SECONDS = 1.0
# Memory where there is such a folder; a container that may write nothing else may write there.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it

log = logging.getLogger("calibrant.workers")


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is given when it starts; `news` brings the credentials that are read later."""

    parent: int
    place: Place
    credentials: Credentials
    news: Connection
    listeners: Listeners


Run: TypeAlias = Callable[[Work], None]


class Worker:
    """One place among the workers: its sockets, and the process that has it now, if any."""

    def __init__(self, listeners: Listeners, place: Place) -> None:
        self.listeners = listeners
        self.place = place
        self.process: SpawnProcess | None = None
        self.starts_at = 0.0
        # How often in a row a process died before it served.
        self.failures = 0
        self.is_killed = False
        # When the event loop was last seen to turn.
        self.heard = 0.0
        self._turns = 0
        self._telling = Lock()

    def start(self, run: Run, credentials: Credentials) -> None:
        """Start a process in this place."""
        self.place.board.clear(self.place.number)
        ears, self._mouth = Pipe(duplex=False)
        self._newest = credentials
        work = Work(os.getpid(), self.place, credentials, ears, self.listeners)
        self.process = get_context("spawn").Process(target=run, args=(work,))
        with signals.holding_back():
            self.process.start()
        ears.close()
        self.heard, self._turns, self.is_killed = monotonic(), 0, False

    def tell(self, credentials: Credentials) -> None:
        """Send these credentials, in a thread: a process that hangs reads nothing."""
        self._newest = credentials
        Thread(target=self._send, args=(credentials, self._mouth), daemon=True).start()

    def _send(self, credentials: Credentials, mouth: Connection) -> None:
        with self._telling, contextlib.suppress(OSError):
            if credentials is self._newest:
                mouth.send(credentials)

    def hangs(self, now: float, limit: float) -> bool:
        """Whether the event loop has stood still for too long; a process that starts has more time."""
        turns = self.place.board.turns(self.place.number)
        if turns != self._turns:
            self._turns, self.heard = turns, now
        if not self.place.board.serves(self.place.number):
            limit = max(limit, _START_SECONDS)
        return now - self.heard > limit

    def lost(self) -> None:
        """Take note that the process died."""
        self.process = None
        self._mouth.close()
        self.failures = 0 if self.place.board.serves(self.place.number) else self.failures + 1
        self.place.board.clear(self.place.number)

    def wait_unheard(self) -> None:
        """Have nobody wait for a process that may never come: it takes connections when it serves, and starts later."""
        self.starts_at = monotonic() + _AGAIN_SECONDS
        try:
            self.listeners = listening.renewed(self.listeners)
        except OSError as error:
            log.error("connections go on waiting for a worker that does not start: %s", error.strerror)


class Workers:
    """The parent: starts the workers, replaces those that die or hang, tells them what is new, and ends them."""

    def __init__(self, settings: Settings, listeners: list[Listeners], renewal: Renewal, run: Run) -> None:
        """`run` is what each process does; what it counts goes to a folder that `run` here removes.

        From here on SIGTERM and SIGINT are noted, for `run` to act on.
        """
        memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        self._folder = TemporaryDirectory(prefix=f"calibrant-{os.getpid()}-", dir=memory)
        self._settings = settings
        self._renewal = renewal
        self._run = run
        board, folder = Board(len(listeners)), Path(self._folder.name)
        self._workers = [Worker(own, Place(board, at, folder / f"{at}.json")) for at, own in enumerate(listeners)]
        self._signals: list[int] = []
        # Once it stops: how many signals the workers have yet to get, and when they no longer turn, and are killed.
        self._stops = False
        self._owed = 0
        self._drains_at = self._ends_at = float("inf")
        self._failed = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.append(number))

    def run(self) -> int:
        """Run until a signal says stop and all workers have ended; the exit status is 1 when one could not start."""
        gc.freeze()  # so that the end does not look for garbage in all that was imported
        with self._folder:
            try:
                self._watch()
            finally:
                for process in self._living():
                    process.kill()
        log.info("all workers have ended")
        return int(self._failed)

    def _watch(self) -> None:
        before = monotonic()
        while not self._stops or self._living():
            now = monotonic()
            if now - before > _PAUSE_SECONDS:
                for worker in self._workers:
                    worker.heard = now
            before = now
            self._take_signals(now)
            for worker in self._workers:
                self._look_after(worker, now)
            if credentials := self._renewal.poll():
                for worker in self._workers:
                    if worker.process:
                        worker.tell(credentials)
            if wait([process.sentinel for process in self._living()], _LOOK_SECONDS):
                sleep(_DYING_SECONDS)

    def _living(self) -> list[SpawnProcess]:
        return [worker.process for worker in self._workers if worker.process]

    def _look_after(self, worker: Worker, now: float) -> None:
        process = worker.process
        if process is None:
            if not self._stops and now >= worker.starts_at:
                worker.start(self._run, self._renewal.credentials)
        elif not process.is_alive():
            self._replace(worker, process)
        elif not worker.is_killed and self._is_late(worker, now):
            log.error("worker %s does not react, and is killed", process.pid)
            process.kill()
            worker.is_killed = True

    def _is_late(self, worker: Worker, now: float) -> bool:
        """Whether the event loop stands still, or the process is still there when all have had the time to end."""
        if self._drains_at <= now:
            return now > self._ends_at
        return worker.hangs(now, self._settings.worker_timeout_seconds)

    def _replace(self, worker: Worker, process: SpawnProcess) -> None:
        worker.lost()
        if self._stops:
            return
        if process.exitcode == STARTUP_FAILURE:
            self._failed = True
            self._stop(monotonic(), hurry=True)
            return
        log.error("worker %s died with %s; another takes its place", process.pid, process.exitcode)
        if worker.failures > 1:
            worker.wait_unheard()
        self._look_after(worker, monotonic())

    def _take_signals(self, now: float) -> None:
        if self._signals:
            hurry = self._stops or signal.SIGINT in self._signals or len(self._signals) > 1
            self._signals.clear()
            self._stop(now, hurry=hurry)
        # One at a time: two that are sent together may arrive as one.
        if self._owed:
            self._owed -= 1
            for process in self._living():
                process.terminate()

    def _stop(self, now: float, *, hurry: bool) -> None:
        """Let the workers answer what they have, and end them; in a `hurry`, without a lame-duck time."""
        if not self._stops:
            log.info("stopping")
            listening.close([worker.listeners for worker in self._workers])
        lame_duck = 0.0 if hurry else self._settings.lame_duck_seconds
        self._owed += 1 + (hurry and not self._stops)
        self._stops = True
        self._drains_at = now + lame_duck
        self._ends_at = self._drains_at + self._settings.shutdown_timeout_seconds + _END_SECONDS

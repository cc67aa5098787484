"""Several processes on one port, each with a SO_REUSEPORT socket of its own: the kernel spreads connections evenly.

The parent keeps the sockets: what arrives before a worker runs, or while it is being replaced, waits in its socket.
"""

import copy
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.stopping import Server

_BACKLOG = 2048
_LOOK_SECONDS = 0.1
# Memory where there is such a folder; a container that may write nothing else may write there.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it

log = logging.getLogger("calibrant.workers")


class Worker(Process):
    """One of the processes, as its parent sees it, and what runs in it."""

    @property
    def server(self) -> Server:
        """What runs in it."""
        own = self._server if isinstance(self._server, Server) else Server(self.config)
        self._server = own
        return own

    def ping(self, timeout: float = 5) -> bool:
        """Whether it answers in that many seconds; it may die with a ping unanswered, and is then not waited for."""
        try:
            self.parent_conn.send(b"ping")
            if self.parent_conn not in wait([self.parent_conn, self.process.sentinel], timeout):
                return False
            self.parent_conn.recv()
        except (OSError, EOFError):
            return False
        return True


class Workers(Multiprocess):
    """uvicorn's supervisor, which replaces the dead and passes on signals, with a socket for each worker."""

    def __init__(self, config: Config) -> None:
        """Binds the sockets; raises OSError where the address cannot be had.

        The application is made with a file for each place among the workers, in a folder that `run` removes.
        """
        super().__init__(config, _sockets(config.host, config.port, config.workers))
        memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        self._folder = TemporaryDirectory(prefix=f"calibrant-{os.getpid()}-", dir=memory)
        host, port, *_ = self.sockets[0].getsockname()
        self.failed = False
        shown = f"[{host}]" if ":" in host else host
        log.info("%d workers, running on %s://%s:%d", config.workers, "https" if config.is_ssl else "http", shown, port)

    def init_processes(self) -> None:
        """Start a worker on each socket."""
        self.processes = [self._started(index) for index in range(len(self.sockets))]

    def keep_subprocess_alive(self) -> None:
        """Replace each worker that died or hangs; stop when one cannot even start."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set() or process.is_alive(self.config.timeout_worker_healthcheck):
                continue
            process.kill()
            process.join()
            if process.exitcode == STARTUP_FAILURE:
                self.failed = True
                self.should_exit.set()
                return
            log.error("worker %s died with %s; another takes its place", process.pid, process.exitcode)
            self.processes[index] = self._started(index, loads_first=True)

    def terminate_all(self) -> None:
        """Take no new connections, and let the workers finish theirs."""
        for own in self.sockets:
            own.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the workers; a signal that comes meanwhile is passed on, as it ends their lame-duck time."""
        while alive := [worker for worker in self.processes if worker.process.is_alive()]:
            alive[0].process.join(_LOOK_SECONDS)
            if self.signal_queue:
                self.signal_queue.clear()
                super().terminate_all()

    def handle_int(self) -> None:
        """Ctrl-C is in a hurry: the workers get a second signal."""
        super().handle_int()
        self.signal_queue.append(signal.SIGINT)

    def run(self) -> None:
        """Until a signal says stop, and all workers have ended."""
        with self._folder:
            super().run()

    def _started(self, index: int, *, loads_first: bool = False) -> Process:
        """In the place of one that served, whoever connects waits until its models are loaded: `loads_first`."""
        config = copy.copy(self.config)
        made = cast("Callable[..., Any]", config.app)
        config.app = partial(made, Path(self._folder.name) / f"{index}.json", loads_first=loads_first)
        process = Worker(config, [self.sockets[index]])
        process.start()
        return process


def _sockets(host: str, port: int, count: int) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            found.append(own := socket.socket(family))
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own.bind((host, found[0].getsockname()[1] or port))
            own.listen(_BACKLOG)
    except OSError:
        for own in found:
            own.close()
        raise
    return found

"""The servers that are measured: how each is started, when it counts as up, and what they all share."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import BenchError, Cores, resident_mib, spawned, tail
from benchmarks.questions import Question, Questions, post
from benchmarks.results import BARE, OURS, PORTABLE, Record

_PROGRAMS = Path(__file__).parent / "servers"
_START_LIMIT_SECONDS = 90
_POLL_SECONDS = 0.005
_IDLE_SECONDS = 0.5


@dataclass(frozen=True)
class Setting:
    """What every measurement needs: where to run, how long, what to ask, where the model is, whom to tell."""

    cores: Cores
    seconds: int
    questions: Questions
    network: Path
    directory: Path
    record: Record


@dataclass(frozen=True)
class Server:
    """How to start one server; ``{port}`` and ``{workers}`` stand for what is known only then."""

    name: str
    command: tuple[str, ...]
    workers_option: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = "/predict"
    probe: str = "/livez"
    only: frozenset[str] | None = None

    def takes_part_in(self, workload: str) -> bool:
        """Whether this server is measured in this workload."""
        return self.only is None or workload in self.only


@dataclass(frozen=True)
class Up:
    """A server that has answered rightly, and what it took to get there."""

    server: Server
    port: int
    start_seconds: float
    idle_mib: float

    def url(self, path: str | None = None) -> str:
        """Where a request goes: by default to the server's own path."""
        return f"http://127.0.0.1:{self.port}{path or self.server.path}"


def bare() -> Server:
    """The yardstick."""
    return Server(BARE, _uvicorn("bare", "--lifespan", "off"), _WORKERS, path="/echo", probe="/constant/2")


def plain() -> Server:
    """A FastAPI application without ambition."""
    return Server("plain FastAPI", _uvicorn("plain"), _WORKERS)


def ours(artifacts: Path, name: str = OURS, **settings: str) -> Server:
    """The service, with the given settings beside its defaults."""
    command = (sys.executable, "-m", "service", "serve", "--artifacts", str(artifacts), "--port", "{port}")
    environment = {f"CALIBRANT_{setting.upper()}": value for setting, value in settings.items()}
    return Server(name, command, _WORKERS, environment)


def portable(artifacts: Path) -> Server:
    """The service through its portable door alone; only W1 tells the doors apart."""
    server = ours(artifacts, PORTABLE, fast_door="false")
    return Server(server.name, server.command, _WORKERS, server.environment, only=frozenset({"W1"}))


def peer(name: str, python: Path, program: str, probe: str) -> Server:
    """Another project's server, in its own environment; it reads its settings from variables."""
    command = (str(python), str(_PROGRAMS / program))
    environment = {"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": "{port}", "MOSEC_LOG_LEVEL": "warning"}
    return Server(name, command, (), {**environment, "MOSEC_TIMEOUT": "30000"}, probe=probe)


_WORKERS = ("--workers", "{workers}")


def _uvicorn(program: str, *options: str) -> tuple[str, ...]:
    fast = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    place = ("--app-dir", str(_PROGRAMS), f"{program}:app", "--host", "127.0.0.1", "--port", "{port}")
    return (sys.executable, "-m", "uvicorn", *place, *fast, *options)


@contextmanager
def up(server: Server, setting: Setting, workers: int = 1) -> Iterator[Up]:
    """Start a server, wait for its first answer, let it come to rest, and end it on the way out."""
    port = _free_port()
    command = [*server.command, *(server.workers_option if workers > 1 else ())]
    command = [part.replace("{port}", str(port)).replace("{workers}", str(workers)) for part in command]
    log = setting.directory / f"{port}.log"
    environment = _environment(server, setting.network, port, workers)
    begun = time.perf_counter()
    with log.open("wb") as output, spawned(command, setting.cores.server, output, environment) as process:
        _await_answer(server, port, process, setting.questions[1], log)
        taken = time.perf_counter() - begun
        time.sleep(_IDLE_SECONDS)
        yield Up(server, port, taken, resident_mib(process))


def _environment(server: Server, network: Path, port: int, workers: int) -> dict[str, str]:
    # The developer's own settings of the service must not change what is measured.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALIBRANT_")}
    given = {name: value.replace("{port}", str(port)) for name, value in server.environment.items()}
    return {**kept, "NETWORK": str(network), "PORT": str(port), "WORKERS": str(workers), **given}


def _await_answer(server: Server, port: int, process: subprocess.Popen[bytes], question: Question, log: Path) -> None:
    deadline = time.perf_counter() + _START_LIMIT_SECONDS
    last = "it does not listen"
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise BenchError(f"{server.name}: ended with code {process.returncode} before it answered\n{tail(log)}")
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_START_LIMIT_SECONDS)) as connection:
                status, answer = post(connection, server.path, question.body)
        except (OSError, http.client.HTTPException):
            time.sleep(_POLL_SECONDS)
            continue
        if status == 200:
            return
        last = f"status {status}: {answer[:300].decode(errors='replace')}"
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"{server.name}: no answer within {_START_LIMIT_SECONDS} s: {last}\n{tail(log)}")


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

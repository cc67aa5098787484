"""Real processes: a service, a planted server, what they weigh, and that they always end."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
_START_SECONDS = 60
_END_SECONDS = 30
_CONNECTIONS_TO_MEET_ALL = 20


class NotInTime(Exception):
    """Something that was waited for did not come."""


@dataclass(frozen=True, slots=True)
class Process:
    """A server: its process, its log, and where it listens."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def workers(self) -> list[int]:
        """The processes that answer: the workers, or where there are none, the one."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [int(pid) for pid in children if b"spawn_main" in _command(pid)]
        return found or [self.process.pid]

    def descriptors(self) -> int:
        """How many files and sockets the process holds."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def get(self, path: str) -> httpx.Response:
        """On a connection of its own."""
        return httpx.get(self.url + path, timeout=30)

    def until_ready(self) -> None:
        """Wait until the default model serves, in each of the processes: the kernel picks one for a connection."""
        until(lambda: all(self.get("/readyz").status_code == 200 for _ in range(_CONNECTIONS_TO_MEET_ALL)), "ready")

    def metric(self, sample: str) -> float:
        """A sample's value as /metrics has it; 0 where there is none."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def until(holds: Callable[[], bool], what: str, seconds: float = 60) -> float:
    """Ask again and again until it holds; how many seconds that took. Raises NotInTime."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > seconds:
            raise NotInTime(f"not {what} within {seconds:g} s")
        time.sleep(0.02)
    return time.monotonic() - started


@contextlib.contextmanager
def started(command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[Process]:
    """A server that says where it is "running on"; ended with all that it started when the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}", **(environment or {})},
        )
    try:
        yield Process(process, log, _address(process, log))
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(_END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if "Traceback" in (text := log.read_text(errors="replace")):
        raise AssertionError(f"the log has a traceback:\n{text[text.index('Traceback') :][:3000]}")


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    pattern = re.compile(r"running on (http://[\w.:]+)")
    until(lambda: process.poll() is not None or bool(pattern.search(log.read_text())), "listening", _START_SECONDS)
    found = pattern.search(log.read_text())
    if found is None:
        raise NotInTime(f"it ended before it listened:\n{log.read_text()[-2000:]}")
    return found[1]


def serving(
    artifacts: Path, *flags: str, environment: dict[str, str] | None = None, log: Path | None = None
) -> contextlib.AbstractContextManager[Process]:
    """``python -m service serve`` on a free port."""
    command = ["-m", "service", "serve", "--artifacts", str(artifacts), "--port", "0", *flags]
    return started(command, log or artifacts.parent / f"service-{time.monotonic_ns()}.log", environment)


def misbehaving(fault: str, upstream: str, folder: Path) -> contextlib.AbstractContextManager[Process]:
    """A server with a planted fault in front of a real one: see `planted`."""
    return started(["-m", "soak.planted", fault, upstream], folder / f"planted-{fault}.log")


@contextlib.contextmanager
def serving_behind(artifacts: Path, fault: str, *flags: str) -> Iterator[tuple[Process, Process]]:
    """A service that is ready, and what clients ask: it, or a server with that planted fault in front of it."""
    with serving(artifacts, *flags) as service:
        service.until_ready()
        if not fault:
            yield service, service
            return
        with misbehaving(fault, service.url, artifacts.parent) as planted:
            yield service, planted


def resident_kib(pid: int) -> int:
    """Proportional set size: a page that several processes share counts for a part in each."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1])

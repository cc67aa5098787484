"""Real processes: starting and pinning them, weighing them, and always ending them. Knows nothing of what they do."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
_GRACE_SECONDS = 5


class BenchError(Exception):
    """Why the bench cannot go on, in words for whoever started it."""


@dataclass(frozen=True)
class Cores:
    """Where the server runs and where its load comes from: one core each, so that they do not share time."""

    server: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def shared(self) -> "Cores":
        """Both cores for both sides: the only way to give two workers a core each on a small machine."""
        both = (*self.server, *self.load)
        return Cores(both, both)


def pick_cores() -> Cores:
    """Take the first two cores that this process may use, and move this process to the second."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("the bench needs two cores, one for the server and one for the load")
    os.sched_setaffinity(0, {allowed[1]})
    return Cores((allowed[0],), (allowed[1],))


def require_tools() -> None:
    """Fail early, in one line, when a program that the bench runs is not installed."""
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is not installed (Debian, Ubuntu: apt-get install {package})")


@contextmanager
def spawned(
    command: Sequence[str],
    cores: Sequence[int],
    output: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on the given cores, in a session of its own, that is ended with all its children on the way out."""
    process = subprocess.Popen(
        ["taskset", "--cpu-list", ",".join(map(str, cores)), *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    finally:
        # Some servers leave workers behind when they are asked to stop; the session's group still has them.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def resident_mib(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of the process and all that it started; pages shared between them count once for each."""
    pages = sum(_resident_pages(entry, process.pid) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _resident_pages(entry: Path, session: int) -> int:
    try:
        # The command's name may hold anything, so what follows its last parenthesis is read.
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
        return int((entry / "statm").read_text().split()[1]) if int(fields[3]) == session else 0
    except (FileNotFoundError, ProcessLookupError):
        return 0


def run_to_end(command: Sequence[str], log: Path, limit_seconds: float) -> None:
    """Run a command and keep its output in a file, which is quoted when the command fails."""
    with log.open("wb") as output, spawned(command, sorted(os.sched_getaffinity(0)), output) as process:
        try:
            code = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{' '.join(command)}: not done after {limit_seconds:.0f} s\n{tail(log)}") from None
    if code != 0:
        raise BenchError(f"{' '.join(command)}: ended with code {code}\n{tail(log)}")


def tail(log: Path) -> str:
    """The end of a log, indented, to be quoted in an error."""
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join(f"    {line}" for line in lines)


def end_children_when_asked_to_stop() -> None:
    """Make the signals that end this process an exception, so that its children are ended first."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))

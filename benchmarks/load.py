"""wrk: as many requests as so many connections can carry, and how long they took."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchError, spawned

_SCRIPT = Path(__file__).with_name("post.lua")
_TIMEOUT_SECONDS = 30
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw; latencies are those of single requests."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float


@contextmanager
def sending(
    url: str, body: Path, connections: int, seconds: int, cores: Sequence[int], *, headers: Mapping[str, str] = _NONE
) -> Iterator[Callable[[], Load]]:
    """Send while the block runs; the function that it is given waits for the end and returns what was seen."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", f"{_TIMEOUT_SECONDS}s", "--script", str(_SCRIPT), url, "--", str(body)]
    command += [part for header in headers.items() for part in header]
    with spawned(command, cores, subprocess.PIPE) as process:
        yield lambda: _result(process, url, seconds)


def send(
    url: str, body: Path, connections: int, seconds: int, cores: Sequence[int], *, headers: Mapping[str, str] = _NONE
) -> Load:
    """Send for so many seconds; raise unless every answer was a success."""
    with sending(url, body, connections, seconds, cores, headers=headers) as result:
        return result()


def _result(process: subprocess.Popen[bytes], url: str, seconds: int) -> Load:
    try:
        output = process.communicate(timeout=seconds + _TIMEOUT_SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        raise BenchError(f"wrk did not end after {seconds} s: {url}") from None
    try:
        seen = json.loads(output.strip().rpartition("\n")[2])
    except json.JSONDecodeError:
        raise BenchError(f"wrk failed: {url}: {output.strip()[-300:]}") from None
    if failed := {kind: count for kind, count in seen["errors"].items() if count}:
        raise BenchError(f"{url}: of {seen['requests']} requests failed (by kind): {failed}")
    if not seen["requests"]:
        raise BenchError(f"{url}: no request was answered in {seconds} s")
    return Load(seen["requests"] / seen["duration_us"] * 1e6, seen["p50_us"] / 1e3, seen["p99_us"] / 1e3)

"""Bodies as large as they may be, good and wrong, of every form, one after another on two connections: probes do not
wait for them. And ten times the connections that are needed, with small and with large bodies: as many good answers.

Planted: a proxy that reads every large body as JSON before it does anything else.
"""

import json
import multiprocessing
import random
import statistics
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from soak.case import Case, Soak
from soak.models import publish
from soak.processes import ROOT, Process, serving_behind
from soak.sending import send, status

_VALUES = 1_000_000
_SENDERS = 2
_PROBES = 120
_PAUSE_SECONDS = 0.01
_LIMIT_MS = 30.0
# What else a shared machine does falls on some of the bodies: none may take this long, and most keep to the limit.
_MOST_MS = 100.0
_ROUNDS = 3
_SHARE_OF_GOOD = 0.9
# By name: how many values a request has, and on how many connections the service has enough to do.
_LOADS = {"one value": (1, 32), "20,000 values": (20_000, 20)}
_GOOD = 'calibrant_requests_total{model="thermometer",route="/predict",status="200"}'
_PROBE = b"GET /livez HTTP/1.1\r\nhost: soak\r\n\r\n"


@dataclass
class Seen:
    """The 99th percentile of a probe's time beside each body, by name, and the good answers a second by load."""

    idle_ms: float
    probes_ms: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    good: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        bodies = ", ".join(f"{name} ({answered})" for name, answered in self.statuses.items())
        return f"{bodies}; {', '.join(self.good)} on 1 and 10 times the connections"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        probes = ", ".join(f"{name} {ms:.0f}" for name, ms in self.probes_ms.items())
        good = "; ".join(f"{name}: {one:.0f} and {ten:.0f} good/s" for name, (one, ten) in self.good.items())
        return f"probes' p99 in ms: idle {self.idle_ms:.0f}, {probes}; {good}"


def observe(soak: Soak) -> Seen:
    """The real one."""
    return _observed(soak, _bodies(), "")


def planted(soak: Soak) -> Seen:
    """One body, and no load."""
    return _observed(soak, {"JSON": _bodies()["JSON"]}, "reads-first")


def faults(seen: Seen) -> list[str]:
    """What must not be; what a probe takes beside nothing is the machine's."""
    usual, most = statistics.median(seen.probes_ms.values()), _MOST_MS + seen.idle_ms
    found = [f"p99 of probes beside {name}: {ms:.0f} ms" for name, ms in seen.probes_ms.items() if ms > most]
    if usual > _LIMIT_MS + seen.idle_ms:
        found.append(f"p99 of probes beside most bodies: {usual:.0f} ms")
    for name, (one, ten) in seen.good.items():
        if ten < _SHARE_OF_GOOD * one:
            found.append(f"{name}: {ten:.0f} good answers a second at ten times the load, {one:.0f} at one")
    return found


def _observed(soak: Soak, bodies: dict[str, bytes], fault: str) -> Seen:
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    with serving_behind(artifacts, fault) as (service, asked):
        seen = Seen(_p99(_probes(asked.url)))
        for name, request in bodies.items():
            with _sending(asked.url, request) as statuses:
                seen.probes_ms[name] = _p99(_probes(asked.url))
            seen.statuses[name] = ", ".join(sorted(set(statuses)))
        if not fault:
            for name, (values, connections) in _LOADS.items():
                body = soak.folder / "body.json"
                body.write_text(json.dumps({"fahrenheit": [50.0] * values}))
                seen.good[name] = _good(service, body, connections, max(1, round(soak.seconds(0.025))))
    return seen


def _bodies() -> dict[str, bytes]:
    """Requests as large as they may be, each by what is special in it."""
    chance = random.Random(0)
    values = [round(chance.uniform(-100, 200), 2) for _ in range(_VALUES)]
    numbers = ",".join(map(str, values)).encode()
    good = b'{"fahrenheit":[%b]}' % numbers
    tensor = b'{"inputs":[{"name":"readings","shape":[%d,1],"datatype":"FP32",%b}]}'
    raw = struct.pack(f"<{_VALUES}f", *values)
    sized = tensor % (_VALUES, b'"parameters":{"binary_data_size":%d}' % len(raw))
    lines = b"fahrenheit\n" + numbers.replace(b",", b"\n") + b"\n"
    text, infer = "text/csv", "/v2/models/thermometer/infer"
    return {
        "JSON": _post(good.ljust(2**24)),
        "an interval": _post(good, "/predict?interval=0.8"),
        "JSON, the last value wrong": _post(good[:-2] + b',"x"]}'),
        "JSON without its end": _post(good[:-2]),
        "blanks": _post(b" " * (2**24 - 1)),
        "CSV": _post(lines, content_type=text, more="accept: text/csv\r\n"),
        "CSV, the last value wrong": _post(lines[:-1] + b"x\n", content_type=text),
        "/v2": _post(tensor % (_VALUES, b'"data":[%b]' % numbers), infer),
        "/v2, the last value wrong": _post(tensor % (_VALUES, b'"data":[%b,"x"]' % numbers), infer),
        "/v2 in bytes": _post(sized + raw, infer, more=f"inference-header-content-length: {len(sized)}\r\n"),
        "activations": _post(b'{"fahrenheit":[%b]}' % b",".join(numbers.split(b",")[:50_000]), "/activations"),
    }


def _post(body: bytes, path: str = "/predict", content_type: str = "application/json", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: soak\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}{more}\r\n".encode() + body


def _probes(url: str) -> list[float]:
    taken = []
    for _ in range(_PROBES):
        started = time.monotonic()
        assert status(url, _PROBE) == "200"
        taken.append((time.monotonic() - started) * 1000)
        time.sleep(_PAUSE_SECONDS)
    return taken


def _p99(taken: Sequence[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]


@contextmanager
def _sending(url: str, request: bytes) -> Iterator[list[str]]:
    """Send a request again and again, from other processes, while the block runs; the statuses come at its end."""
    context = multiprocessing.get_context("spawn")
    stop, statuses = context.Event(), context.Queue()
    started = context.Barrier(_SENDERS + 1)
    arguments = (url, request, started, stop, statuses)
    senders = [context.Process(target=send, args=arguments) for _ in range(_SENDERS)]
    for sender in senders:
        sender.start()
    started.wait(60)
    seen: list[str] = []
    try:
        yield seen
    finally:
        stop.set()
        seen += [each for _ in senders for each in statuses.get(timeout=60)]
        for sender in senders:
            sender.join(60)


def _good(service: Process, body: Path, connections: int, seconds: int) -> tuple[float, float]:
    """Good answers a second on these connections and on ten times as many: the median, and the best, of some rounds."""
    rounds = [[_good_once(service, body, times * connections, seconds) for times in (1, 10)] for _ in range(_ROUNDS)]
    one, ten = zip(*rounds, strict=True)
    return statistics.median(one), max(ten)


def _good_once(service: Process, body: Path, connections: int, seconds: int) -> float:
    before, started = service.metric(_GOOD), time.monotonic()
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--timeout", "60s", "--script", str(ROOT / "benchmarks" / "post.lua"), f"{service.url}/predict", "--"]
    subprocess.run([*command, str(body)], check=True, capture_output=True, timeout=60 + seconds)
    return (service.metric(_GOOD) - before) / (time.monotonic() - started)


CASE = Case("large bodies", observe, faults, planted)

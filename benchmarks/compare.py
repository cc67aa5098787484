"""W1 to W7: each server under load, and bare under the same load a moment before."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks import probes
from benchmarks.fleet import Server, Setting, Up, up
from benchmarks.load import Load, send, sending
from benchmarks.questions import TENSOR_HEADERS, TENSOR_PATH, Question, check, check_tensor
from benchmarks.results import MEMORY, OURS, P50, P99, PROBE, RATE, START, TENSORS, VALUE, VALUES, Sample

_WARM_SECONDS = 1
_LARGE_ROWS, _LARGE_CONNECTIONS = 100_000, 4


@dataclass(frozen=True)
class Workload:
    """So many values a request, on so many connections, and what is compared."""

    name: str
    rows: int
    connections: int
    whats: tuple[str, ...]
    warm_seconds: int = _WARM_SECONDS

    def bare_path(self, question: Question) -> str:
        """Where values are what counts, bare echoes them; else it answers as many bytes as we do."""
        return "/echo" if VALUES in self.whats else f"/constant/{question.answer_bytes}"


WORKLOADS = (
    Workload("W1", 1, 32, (RATE, P99)),
    Workload("W2", 1, 1, (P50,)),
    Workload("W3", 1_000, 8, (VALUES,)),
    Workload("W4", _LARGE_ROWS, _LARGE_CONNECTIONS, (VALUES,)),
)
# The second worker may come up after the first has answered, so both are given longer.
TWO_WORKERS = Workload("W6", 1, 32, (RATE,), warm_seconds=3)
ROWS_ASKED = sorted({workload.rows for workload in WORKLOADS})

# What is compared, and what it is made from: the number, and its unit.
_MEASURES: dict[str, Callable[[Load, int], tuple[float, str]]] = {
    RATE: lambda load, _: (load.requests_per_second, "requests/s"),
    VALUES: lambda load, rows: (load.requests_per_second * rows / 1e6, "M values/s"),
    P50: lambda load, _: (load.p50_ms * 1e3, "us"),
    P99: lambda load, _: (load.p99_ms, "ms"),
}


def one_worker(setting: Setting, bare: Server, servers: Sequence[Server], selected: Sequence[str]) -> None:
    """One round of W1 to W5 and W7: every server is started afresh, so that each round is a sample of that too."""
    with up(bare, setting) as yardstick:
        _record_start(setting, yardstick, selected)
        if "W7" in selected:
            _beside_load(setting, yardstick)
        for server in servers:
            if not any(server.takes_part_in(workload) for workload in selected):
                continue
            with up(server, setting) as it:
                if server.takes_part_in("W5"):
                    _record_start(setting, it, selected)
                for workload in WORKLOADS:
                    if workload.name in selected and server.takes_part_in(workload.name):
                        _compare(setting, workload, yardstick, it)
                if "W7" in selected and server.takes_part_in("W7"):
                    _beside_load(setting, it)


def two_workers(setting: Setting, bare: Server, servers: Sequence[Server]) -> None:
    """One round of W6. Nothing is pinned apart: two workers and wrk share both cores."""
    setting = replace(setting, cores=setting.cores.shared)
    with up(bare, setting, workers=2) as yardstick:
        for server in servers:
            if server.takes_part_in(TWO_WORKERS.name):
                with up(server, setting, workers=2) as it:
                    _compare(setting, TWO_WORKERS, yardstick, it)


def _record_start(setting: Setting, it: Up, selected: Sequence[str]) -> None:
    if "W5" in selected:
        for what, value, unit in ((START, it.start_seconds, "s"), (MEMORY, it.idle_mib, "MiB")):
            setting.record(Sample("W5", what, it.server.name, value, value, unit))


def _compare(setting: Setting, workload: Workload, bare: Up, it: Up) -> None:
    question = setting.questions[workload.rows]
    bare_path = workload.bare_path(question)
    check(bare.server.name, bare.port, bare_path, question)
    check(it.server.name, it.port, it.server.path, question)

    def load(url: str, seconds: int) -> Load:
        return send(url, question.file, workload.connections, seconds, setting.cores.load)

    load(it.url(), workload.warm_seconds)
    of_bare = load(bare.url(bare_path), setting.seconds)
    of_it = load(it.url(), setting.seconds)
    for what in workload.whats:
        limit, unit = _MEASURES[what](of_bare, workload.rows)
        measured, _ = _MEASURES[what](of_it, workload.rows)
        setting.record(Sample(workload.name, what, bare.server.name, 1.0, limit, unit))
        setting.record(Sample(workload.name, what, it.server.name, measured / limit, measured, unit))
        if workload.rows == _LARGE_ROWS and it.server.name == OURS:
            _record_tensors(setting, workload, it, limit)


def _record_tensors(setting: Setting, workload: Workload, it: Up, bare_values: float) -> None:
    question = setting.questions[workload.rows]
    check_tensor(it.port, question)
    load = partial(send, it.url(TENSOR_PATH), question.tensor, workload.connections)
    load(workload.warm_seconds, setting.cores.load, headers=TENSOR_HEADERS)
    measured, unit = _MEASURES[VALUES](load(setting.seconds, setting.cores.load, headers=TENSOR_HEADERS), workload.rows)
    setting.record(Sample(workload.name, TENSORS, OURS, measured / bare_values, measured, unit))


def _beside_load(setting: Setting, it: Up) -> None:
    large = setting.questions[_LARGE_ROWS]
    check(it.server.name, it.port, it.server.path, large)
    requests = {PROBE: probes.get(it.server.probe), VALUE: probes.post(it.server.path, setting.questions[1].body)}
    seconds = setting.seconds + _WARM_SECONDS
    with sending(it.url(), large.file, _LARGE_CONNECTIONS, seconds, setting.cores.load) as result:
        time.sleep(_WARM_SECONDS)
        for what, p99_ms in probes.p99_ms(it.port, setting.seconds, requests).items():
            setting.record(Sample("W7", what, it.server.name, p99_ms, p99_ms, "ms"))
        result()

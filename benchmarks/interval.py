"""W10: an interval for a thousand values, against the plain prediction of the same, over HTTP."""

from functools import partial
from pathlib import Path

from benchmarks.fleet import Setting, ours, up
from benchmarks.load import send
from benchmarks.questions import check
from benchmarks.results import INTERVAL, OURS, Sample

_ROWS, _CONNECTIONS, _WARM_SECONDS = 1_000, 8, 1


def measure(setting: Setting, artifacts: Path, rounds: int) -> None:
    """The time for each request, as a multiple of that of a plain one a moment before."""
    server, question = ours(artifacts), setting.questions[_ROWS]
    with up(server, setting) as it:
        check(server.name, it.port, server.path, question)
        paths = (server.path, f"{server.path}?interval=0.8")
        for path in paths:
            send(it.url(path), question.file, _CONNECTIONS, _WARM_SECONDS, setting.cores.load)
        for _ in range(rounds):
            load = partial(send, body=question.file, connections=_CONNECTIONS, seconds=setting.seconds)
            plain, interval = (load(it.url(path), cores=setting.cores.load).requests_per_second for path in paths)
            setting.record(Sample("W10", INTERVAL, OURS, plain / interval, 1e6 / interval, "us"))

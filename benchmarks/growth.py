"""W8: how time grows with rows, against the straight line that fits it best, and with models that nobody asks for."""

import http.client
import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.fleet import Setting, Up, ours, up
from benchmarks.load import send
from benchmarks.network import Run
from benchmarks.processes import BenchError
from benchmarks.questions import Question, ask, check, post
from benchmarks.results import MODELS, OURS, ROWS_ALONE, ROWS_HTTP, Sample

_SIZES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_MODELS = 100
_BODY_LIMIT = str(64 * 2**20)
_BUDGET_SECONDS = 0.5
_REPEATS = (5, 200)


def measure(setting: Setting, artifacts: Path, run: Run, rounds: int) -> None:
    """All of W8."""
    asked = {rows: ask(rows, run, setting.directory) for rows in _SIZES}
    _rows_over_http(setting, artifacts, asked, rounds)
    _rows_alone(setting, run, asked, rounds)
    _models(setting, artifacts, rounds)


def _rows_over_http(setting: Setting, artifacts: Path, asked: Mapping[int, Question], rounds: int) -> None:
    server = ours(artifacts, max_body_bytes=_BODY_LIMIT)
    with up(server, setting) as it:
        for question in asked.values():
            check(server.name, it.port, server.path, question)
        with closing(http.client.HTTPConnection("127.0.0.1", it.port, timeout=60)) as connection:
            connection.connect()

            def send_rows(rows: int) -> Callable[[], None]:
                return lambda: _post(connection, server.path, asked[rows].body)

            for _ in range(rounds):
                _record_growth(setting, ROWS_HTTP, send_rows)


def _rows_alone(setting: Setting, run: Run, asked: Mapping[int, Question], rounds: int) -> None:
    columns = {rows: np.array(json.loads(asked[rows].body)["fahrenheit"], np.float32)[:, None] for rows in _SIZES}
    for _ in range(rounds):
        _record_growth(setting, ROWS_ALONE, lambda rows: lambda: run(columns[rows]))


def _record_growth(setting: Setting, what: str, work: Callable[[int], Callable[[], Any]]) -> None:
    taken_ms = {rows: _median_ms(work(rows)) for rows in _SIZES}
    percent = largest_deviation(taken_ms) * 100
    setting.record(Sample("W8", what, OURS, percent, taken_ms[_SIZES[-1]], "ms for 1,000,000"))


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
    status, answer = post(connection, path, body)
    if status != 200:
        raise BenchError(f"{OURS}: status {status} to {len(body)} bytes: {answer[:300].decode(errors='replace')}")


def _median_ms(work: Callable[[], Any]) -> float:
    work()
    taken: list[float] = []
    while len(taken) < _REPEATS[0] or (len(taken) < _REPEATS[1] and sum(taken) < _BUDGET_SECONDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken) * 1e3


def largest_deviation(taken: Mapping[int, float]) -> float:
    """How far the times lie from ``a + b rows`` at most, relative to themselves, for the ``a`` and ``b`` that keep
    that smallest: least squares over and over, each time with more weight where the line is still far off (Lawson).
    """
    times = np.array(list(taken.values()))
    line = np.stack([np.ones(len(times)), np.array(list(taken))], axis=1) / times[:, None]
    weight = np.full(len(times), 1 / len(times))
    best = np.inf
    for _ in range(500):
        root = np.sqrt(weight)
        factors = np.linalg.lstsq(line * root[:, None], root, rcond=None)[0]
        off = np.abs(line @ factors - 1)
        best = min(best, off.max())
        weight = weight * (off + 1e-12)
        weight /= weight.sum()
    return float(best)


def _models(setting: Setting, artifacts: Path, rounds: int) -> None:
    """One connection to one model, where it is alone and where 99 others are loaded beside it."""
    model = setting.network.parent.parent.name
    crowd = setting.directory / "crowd"
    for number in range(_MODELS):
        _copy_model(artifacts / model, crowd / (f"{model}-{number}" if number else model))
    question = setting.questions[1]
    # Among many models there is no default one.
    alone, beside = (replace(ours(place), path=f"/models/{model}/predict") for place in (artifacts, crowd))

    def p50_us(it: Up) -> float:
        return send(it.url(), question.file, 1, setting.seconds, setting.cores.load).p50_ms * 1e3

    with up(alone, setting) as one, up(beside, setting) as many:
        for it in (one, many):
            check(it.server.name, it.port, it.server.path, question)
        for _ in range(rounds):
            of_one, of_many = p50_us(one), p50_us(many)
            setting.record(Sample("W8", MODELS, OURS, of_many / of_one, of_many, "us"))


def _copy_model(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for manifest in target.glob("*/manifest.json"):
        content = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**content, "model": target.name}))

"""W9: a million rows through the network alone, on one core, against the least time that its arithmetic can take.

Two floors, both measured here: every tanh of those rows, evaluated on a block that stays in the cache, and one copy of
the bytes that go in and out. What a run takes beyond them is memory traffic and overhead.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from benchmarks.results import Record, Sample
from service import artifact
from service.predictor import BLOCK_ROWS, Predictor

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Run: TypeAlias = Callable[[Array], Array]

ROWS = 1_000_000
_REPEATS = 5


def runner(network: Path) -> Run:
    """The network as the service runs it: ``[N, features]`` in, ``[N, targets]`` out, on one core."""
    # torch counted the cores before this process was moved to one of them.
    torch.set_num_threads(1)
    predictor = Predictor(artifact.read(network.parent), torch.device("cpu"))
    return lambda rows: predictor.run(rows).predictions


def measure(network: Path, rounds: int, record: Record) -> None:
    """W9: the service's way and plain eager torch, each as a multiple of the floors measured just before.

    Eager torch is given the layers alone; ours also scales the features and the targets.
    """
    layers = _layers(network)
    features, hidden = layers[0][0].shape[1], sum(len(weight) for weight, _ in layers[:-1])
    run, eager = runner(network), _eager(layers)
    rows = np.random.default_rng(9).uniform(22, 81, (ROWS, features)).astype(np.float32)
    moved_bytes = rows.nbytes + ROWS * len(layers[-1][0]) * rows.itemsize
    for _ in range(rounds):
        tanh_ms, copy_ms = _tanh_ms(ROWS * hidden, BLOCK_ROWS * hidden), _copy_ms(moved_bytes)
        for name, took_ms in (("ours", _median_ms(lambda: run(rows))), ("eager, one block", _median_ms(eager(rows)))):
            record(Sample("W9", "network alone, of its floors", name, took_ms / (tanh_ms + copy_ms), took_ms, "ms"))
        record(Sample("W9", "floor: its tanh evaluations, ms", "-", tanh_ms, tanh_ms, "ms"))
        record(Sample("W9", "floor: its bytes, copied once, ms", "-", copy_ms, copy_ms, "ms"))


def _layers(network: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    script = torch.jit.load(str(network), map_location="cpu")  # type: ignore[no-untyped-call]
    values = [parameter.detach() for _, parameter in script.named_parameters()]
    return list(zip(values[::2], values[1::2], strict=True))


def _eager(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> Callable[[Array], Callable[[], torch.Tensor]]:
    def forward(rows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            for weight, bias in layers[:-1]:
                rows = torch.tanh(torch.nn.functional.linear(rows, weight, bias))
            return torch.nn.functional.linear(rows, *layers[-1])

    return lambda rows: lambda: forward(torch.from_numpy(rows))


def _tanh_ms(count: int, resident: int) -> float:
    block = torch.linspace(-2, 2, resident)
    result = torch.empty_like(block)
    times = count // resident

    def evaluate() -> None:
        for _ in range(times):
            torch.tanh(block, out=result)

    return _median_ms(evaluate) * count / (times * resident)


def _copy_ms(moved_bytes: int) -> float:
    source = np.ones(moved_bytes, dtype=np.uint8)
    target = np.empty_like(source)
    return _median_ms(lambda: np.copyto(target, source))


def _median_ms(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[_REPEATS // 2] * 1e3

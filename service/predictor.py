"""One loaded version: its network on a device, warmed, and what it costs there. Knows torch; no HTTP, no queue."""

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from service import artifact, interval_network, straight
from service.artifact import Artifact, ArtifactError
from service.cost import Cost
from service.cuda import CudaNetwork
from service.entry import Rows
from service.interval_network import Forward, IntervalNetwork
from service.intervals import ranked
from service.manifest import Interval
from service.outputs import Outputs

# A block whose hidden layers stay in a core's cache.
BLOCK_ROWS = 8192
# A network's first calls at a new batch size are slow (it is compiled for it), the later ones are not.
WARM_UP_SIZES = (1, 2, 16, 256, 2048, BLOCK_ROWS)
_TIMED_CALLS = 20
# An interval's calls are slower, its first ones most of all, and a start has no time for many.
_INTERVAL_SIZES = (1, 256)
_INTERVAL_TIMED_CALLS = 5


class Predictor:
    """Answers rows in raw units; safe to call from two threads at once."""

    def __init__(self, read: Artifact, device: torch.device) -> None:
        """Moves the network to `device`; raises RuntimeError where torch cannot, ArtifactError for wrong answers."""
        self.manifest = read.manifest
        self.report = read.report
        self.gradients = {name: gradient.numpy() for name, gradient in read.gradients.items()}
        self.network = read.network.to(device)
        self.device = device
        frozen = artifact.freeze(self.network)
        self._forward = self._forward_on(device, frozen)
        self._bounded = self._bounded_on(device, frozen) if self.manifest.interval else None
        self._minimum = np.array([column.minimum for column in self.manifest.features], dtype=np.float32)
        self._maximum = np.array([column.maximum for column in self.manifest.features], dtype=np.float32)
        self._check_golden()

    def run(self, rows: Rows) -> Outputs:
        """Rows ``[N, features]`` to predictions ``[N, targets]`` and the flags of those outside the training range."""
        if len(rows) <= BLOCK_ROWS:
            predictions = self._forward(rows)
        else:
            predictions = np.empty((len(rows), len(self.manifest.targets)), dtype=np.float32)
            for at in range(0, len(rows), BLOCK_ROWS):
                predictions[at : at + BLOCK_ROWS] = self._forward(rows[at : at + BLOCK_ROWS])
        return Outputs(predictions, self._outside(rows))

    def run_interval(self, ranked: Rows) -> Outputs:
        """The same with bounds, ``[N, 3 targets]``, for rows that have a rank behind their features.

        Only where the manifest has an interval.
        """
        return Outputs(cast("IntervalNetwork", self._bounded)(ranked), self._outside(ranked[:, :-1]))

    def activations(self, rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Rows ``[N, features]`` to the output ``[N, width]`` of every layer, by its name, in order."""
        with torch.inference_mode():
            outputs = self.network.activations(torch.from_numpy(rows).to(self.device))
        return {name: output.cpu().numpy() for name, output in outputs.items()}

    @cached_property
    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The point network's parameters by name."""
        return {name: value.detach().cpu().numpy() for name, value in self.network.named_parameters()}

    @cached_property
    def width(self) -> int:
        """How many values all layers give for one row."""
        row = self._minimum.reshape(1, -1)
        return sum(output.shape[1] for output in self.activations(row).values())

    def warm(self) -> Cost:
        """Run each batch size twice and more, and measure what a call and a row cost here, in seconds."""
        rows = self._middle(BLOCK_ROWS)
        times = {size: _TIMED_CALLS if size < BLOCK_ROWS else 3 for size in WARM_UP_SIZES}
        return _cost({size: _fastest(self.run, rows[:size], count) for size, count in times.items()})

    def warm_interval(self, interval: Interval) -> Cost:
        """The same for `run_interval`, with few calls, and where it is quick, on a GPU, of each size."""
        sizes = _INTERVAL_SIZES if self.device.type == "cpu" else WARM_UP_SIZES
        rows = ranked(self._middle(max(sizes)), interval.golden.rank)
        return _cost({size: _fastest(self.run_interval, rows[:size], _INTERVAL_TIMED_CALLS) for size in sizes})

    def _middle(self, count: int) -> Rows:
        """So many rows from the middle of the training range."""
        return np.tile(self._minimum / 2 + self._maximum / 2, (count, 1)).astype(np.float32)

    def _outside(self, rows: Rows) -> NDArray[np.bool_]:
        outside = (rows < self._minimum) | (rows > self._maximum)
        return outside[:, 0] if outside.shape[1] == 1 else np.any(outside, axis=1)

    def _forward_on(self, device: torch.device, frozen: torch.jit.ScriptModule) -> Forward:
        # Frozen, it has constants where there were parameters, so that nothing asks autograd for anything. Without a
        # chain, the method itself: calling the module looks for hooks, which takes as long as one of its layers.
        network: Callable[[torch.Tensor], torch.Tensor] = straight.compiled(frozen.graph) or frozen.forward
        if device.type == "cpu":
            return lambda rows: network(torch.from_numpy(rows)).numpy()
        return CudaNetwork(network, device, len(self.manifest.features), len(self.manifest.targets))

    def _bounded_on(self, device: torch.device, frozen: torch.jit.ScriptModule) -> IntervalNetwork:
        features, targets = len(self.manifest.features), len(self.manifest.targets)
        if device.type == "cpu":
            interval = interval_network.cpu(frozen, self.network.residuals, self._forward)
        else:
            interval = interval_network.cuda(frozen, device, features, targets)
        values = sum(buffer.numel() for buffer in self.network.buffers())
        return IntervalNetwork(interval, values, targets)

    def _check_golden(self) -> None:
        """What serves is not quite what was read: it is frozen, and on a device. It has to know the same answers."""
        golden = self.manifest.golden
        predictions = self._forward(np.array(golden.inputs, dtype=np.float32))
        if (case := golden.first_wrong(torch.from_numpy(predictions))) is not None:
            raise ArtifactError(f"{artifact.NETWORK}: golden case {case} is not reproduced on {self.device}")
        if interval := self.manifest.interval:
            rows = ranked(np.array(golden.inputs, dtype=np.float32), interval.golden.rank)
            outputs = torch.from_numpy(self.run_interval(rows).predictions)
            if (case := interval.golden.first_wrong(golden, outputs)) is not None:
                where = f"the interval of golden case {case}"
                raise ArtifactError(f"{artifact.NETWORK}: {where} is not reproduced on {self.device}")


def _fastest(run: Callable[[Rows], Outputs], rows: Rows, times: int) -> float:
    calls = []
    for _ in range(times):
        started = time.perf_counter()
        run(rows)
        calls.append(time.perf_counter() - started)
    return min(calls[2:])


def _cost(seconds: Mapping[int, float]) -> Cost:
    """What sizes took, as a part for each call and one for each row."""
    most = max(seconds)
    return Cost(fixed=seconds[1], per_row=max(0.0, seconds[most] - seconds[1]) / (most - 1))


def resolve_device(choice: str) -> torch.device:
    """The device for a setting: ``auto`` takes CUDA where there is one. Raises ValueError where there is none."""
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise ValueError("device: cuda was asked for, and torch finds none here")
    return torch.device("cuda" if available and choice != "cpu" else "cpu")

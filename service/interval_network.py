"""Runs a network's interval: rows of one rank at a time, in blocks whose values stay in a core's cache."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from service import straight
from service.cuda import CudaNetwork
from service.entry import Rows
from service.order_statistics import smallest

# On a row come about as many values as the left-out networks and the residuals have together.
_BLOCK_VALUES = 2**21
_LEAST_ROWS, _MOST_ROWS = 64, 8192

Forward: TypeAlias = Callable[[Rows], NDArray[np.float32]]
Interval: TypeAlias = Callable[[Rows, int], NDArray[np.float32]]


class IntervalNetwork:
    """``[N, features + 1]``, a rank behind the features, to ``[N, 3 targets]``: predictions, lower and upper bounds."""

    def __init__(self, interval: Interval, values: int, targets: int) -> None:
        """`interval` is for rows of one rank; `values` are what the network's buffers hold, all together."""
        self._interval = interval
        self._block_rows = min(max(_BLOCK_VALUES // values, _LEAST_ROWS), _MOST_ROWS)
        self._outputs = 3 * targets

    def __call__(self, ranked: Rows) -> NDArray[np.float32]:
        """May be called from two threads at once."""
        features, ranks = np.ascontiguousarray(ranked[:, :-1]), ranked[:, -1]
        if len(ranks) and (ranks == ranks[0]).all():
            return self._of_one_rank(features, int(ranks[0]))
        outputs = self._empty(len(ranked))
        for rank in np.unique(ranks):
            chosen = ranks == rank
            outputs[chosen] = self._of_one_rank(features[chosen], int(rank))
        return outputs

    def _of_one_rank(self, rows: Rows, rank: int) -> NDArray[np.float32]:
        if len(rows) <= self._block_rows:
            return self._interval(rows, rank)
        # Into one array: small ones that are kept among large ones that are freed would break the heap into pieces.
        outputs = self._empty(len(rows))
        for at in range(0, len(rows), self._block_rows):
            outputs[at : at + self._block_rows] = self._interval(rows[at : at + self._block_rows], rank)
        return outputs

    def _empty(self, count: int) -> NDArray[np.float32]:
        """Columns one after another, as answers are written."""
        return np.empty((self._outputs, count), dtype=np.float32).T


def cuda(frozen: torch.jit.ScriptModule, device: torch.device, features: int, targets: int) -> Interval:
    """The interval of a frozen network on a GPU."""
    return CudaNetwork(frozen.interval, device, features, 3 * targets)


def cpu(frozen: torch.jit.ScriptModule, residuals: torch.Tensor, forward: Forward) -> Interval:
    """The same on a CPU, where its predictions are `forward`'s."""
    chain = straight.compiled(frozen.left_out_predictions.graph) if hasattr(frozen, "left_out_predictions") else None
    if chain is None:
        return lambda rows, rank: frozen.interval(torch.from_numpy(rows), rank).numpy()
    return _of_parts(chain, residuals.numpy(), forward)


def _of_parts(left_out: straight.Step, residuals: NDArray[np.float32], forward: Forward) -> Interval:
    """What the scripted method does, in place, and with order statistics that are faster than torch's on a CPU.

    `left_out` takes ``[B, features]`` to ``[n, targets, B]``; `residuals` are ``[n, targets, 1]``.
    """
    negative = -residuals

    def interval(rows: Rows, rank: int) -> NDArray[np.float32]:
        without = left_out(torch.from_numpy(rows)).numpy()
        n, targets, count = without.shape
        bounds = np.empty((n, 2, targets, count), dtype=np.float32)
        np.subtract(without, residuals, out=bounds[:, 0])
        np.subtract(negative, without, out=bounds[:, 1])  # the upper ones, negative: the largest is the smallest
        lower, upper = smallest(bounds.reshape(n, -1), rank).reshape(2, targets, count)
        outputs = np.empty((3, targets, count), dtype=np.float32)
        outputs[0], outputs[1] = forward(rows).T, lower
        np.negative(upper, out=outputs[2])
        return outputs.reshape(3 * targets, count).T

    return interval

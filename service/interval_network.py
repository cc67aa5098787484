"""Runs a network's interval: rows of one rank at a time, in blocks whose values stay in a core's cache."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from service.cuda import CudaNetwork
from service.entry import Rows

# On a row come about as many values as the left-out networks and the residuals have together.
_BLOCK_VALUES = 2**19
_LEAST_ROWS, _MOST_ROWS = 64, 8192

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
        outputs = np.empty((len(ranked), self._outputs), dtype=np.float32)
        for rank in np.unique(ranks):
            chosen = ranks == rank
            outputs[chosen] = self._of_one_rank(features[chosen], int(rank))
        return outputs

    def _of_one_rank(self, rows: Rows, rank: int) -> NDArray[np.float32]:
        if len(rows) <= self._block_rows:
            return self._interval(rows, rank)
        # Into one array: small ones that are kept among large ones that are freed would break the heap into pieces.
        outputs = np.empty((len(rows), self._outputs), dtype=np.float32)
        for at in range(0, len(rows), self._block_rows):
            outputs[at : at + self._block_rows] = self._interval(rows[at : at + self._block_rows], rank)
        return outputs


def interval_of(network: torch.jit.ScriptModule, device: torch.device, features: int, targets: int) -> Interval:
    """The interval of a frozen network on its device."""
    if device.type == "cpu":
        return lambda rows, rank: network.interval(torch.from_numpy(rows), rank).numpy()
    return CudaNetwork(network.interval, device, features, 3 * targets)

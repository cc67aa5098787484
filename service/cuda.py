"""Runs a network on a GPU: batches padded to few sizes, each warmed; pinned buffers; one stream for all of them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A batch is padded to the next of these; the last is the largest that is given at once.
SIZES = (1, 16, 256, 2048, 8192)


@dataclass(frozen=True, slots=True)
class _Buffers:
    sent: Tensor
    inputs: Tensor
    received: Tensor


class CudaNetwork:
    """``[N, features]`` to ``[N, outputs]`` for N up to the last of SIZES; calls from two threads take turns."""

    def __init__(self, network: Callable[..., Tensor], device: torch.device, features: int, outputs: int) -> None:
        self._network = network
        self._stream = _stream(device)
        self._turn = threading.Lock()
        # On the same stream: what fills the inputs with zeros elsewhere may do so after the first rows are there.
        with torch.cuda.stream(self._stream):
            self._buffers = {
                size: _Buffers(
                    torch.zeros((size, features), pin_memory=True),
                    torch.zeros((size, features), device=device),
                    torch.empty((size, outputs), pin_memory=True),
                )
                for size in SIZES
            }

    def __call__(self, rows: NDArray[np.float32], *more: int) -> NDArray[np.float32]:
        """The outputs, in memory of their own; `more` is what the network takes besides."""
        count = len(rows)
        buffers = self._buffers[next(size for size in SIZES if size >= count)]
        with self._turn, torch.cuda.stream(self._stream):
            # What an earlier batch left in the padding is computed again, and thrown away.
            buffers.sent[:count].copy_(torch.from_numpy(rows))
            buffers.inputs.copy_(buffers.sent, non_blocking=True)
            buffers.received.copy_(self._network(buffers.inputs, *more), non_blocking=True)
            self._stream.synchronize()
            return buffers.received[:count].numpy().copy()


@lru_cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return one stream for all networks: cuBLAS keeps 32 MiB for each stream on which it ever ran."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

"""One request in the engine: its rows, its own way to answer, and what came of it. Knows neither the queue nor HTTP."""

import math
from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from service.outputs import Outputs

Rows: TypeAlias = NDArray[np.float32]


class EngineError(Exception):
    """Why an entry has no outputs."""


class Refused(EngineError):
    """The queue is full; `retry_after` is the seconds that its present rows will take."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class Expired(EngineError):
    """The deadline passed before the model ran."""


class Closed(EngineError):
    """The engine was closed before the model ran."""


class Miscounted(EngineError):
    """The model gave another number of rows than it was given."""


def _tell_nobody(_: "Entry") -> None:
    """For who looks at `settled` instead."""


class Entry:
    """One request's rows ``[N, features]``; `reply` is called once, on the loop, with the entry itself.

    Then either `error` is set, or `outputs`, of which the rows from `start` to `stop` are this request's. `waited`,
    `ran` and `batch` say how long it queued, how long the model ran for it, and how many rows shared its last call.
    Times are ``perf_counter`` seconds.
    """

    __slots__ = (
        "_blocks", "arrived", "batch", "cancelled", "deadline", "error", "outputs", "ran", "reply", "rows", "settled",
        "start", "stop", "waited",
    )  # fmt: skip

    def __init__(self, rows: Rows, deadline: float = math.inf, reply: Callable[["Entry"], None] = _tell_nobody) -> None:
        self.rows = rows
        self.deadline = deadline
        self.reply = reply
        self.arrived = perf_counter()
        self.outputs: Outputs | None = None
        self.error: Exception | None = None
        self.start = 0
        self.stop = 0
        self.waited = 0.0
        self.ran = 0.0
        self.batch = 0
        self.settled = False
        self.cancelled = False
        self._blocks: list[Outputs] | None = None

    def cancel(self) -> None:
        """Say that nobody waits: the model will not run for it, and `reply` will not be called."""
        self.cancelled = True

    def is_wanted(self, now: float) -> bool:
        """Whether somebody still waits for it, and it can be in time."""
        return not self.cancelled and now <= self.deadline

    def own_outputs(self) -> Outputs:
        """Its own rows of `outputs`, which it must have."""
        whole, own = cast("Outputs", self.outputs), slice(self.start, self.stop)
        return Outputs(whole.predictions[own], whole.out_of_range[own])

    def next_rows(self, size: int) -> Rows:
        """The next block of at most `size` rows that the model has not seen."""
        return self.rows[self.stop : self.stop + size]

    def add_block(self, outputs: Outputs, seconds: float) -> bool:
        """Keep a block's outputs; true when it was the last, and all of them are `outputs`."""
        self._blocks = [*(self._blocks or ()), outputs]
        self.stop += len(outputs)
        self.ran += seconds
        self.batch = len(outputs)
        if self.stop < len(self.rows):
            return False
        self.outputs = outputs if len(self._blocks) == 1 else Outputs.joined(self._blocks)
        return True

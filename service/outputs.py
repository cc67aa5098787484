"""What a model says of a batch of rows, and how it is written; the requests of the batch share it."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service import pieces

# So many numbers are written in less than a millisecond, during which no other thread runs.
_WRITTEN_AT_ONCE = 2**14
# Up to here the whole batch is written at once and handed out in pieces; beyond, each request's rows by themselves.
_WRITTEN_TOGETHER = 1024
_NONE = np.empty(0, dtype=np.int64)


class Outputs:
    """Float32 predictions ``[N, targets]``, and bool ``[N]``: which rows lie outside the training range."""

    def __init__(self, predictions: NDArray[np.float32], out_of_range: NDArray[np.bool_]) -> None:
        self.predictions = predictions
        self.out_of_range = out_of_range

    def __len__(self) -> int:
        return len(self.predictions)

    @classmethod
    def joined(cls, blocks: Sequence["Outputs"]) -> "Outputs":
        """The blocks of one request, as one."""
        return cls(
            np.concatenate([block.predictions for block in blocks]),
            np.concatenate([block.out_of_range for block in blocks]),
        )

    @cached_property
    def finite(self) -> bool:
        """Whether every prediction of the batch is a finite number."""
        return bool(np.isfinite(self.predictions).all())

    def not_finite(self, start: int, stop: int) -> list[int]:
        """Which rows of a request, counted from its own first, have a prediction that is not finite."""
        rows: list[int] = np.flatnonzero(~np.isfinite(self.predictions[start:stop]).all(axis=1)).tolist()
        return rows

    def outside(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return which rows of a request, counted from its own first, are out of range."""
        if not self._any_outside:
            return _NONE
        return np.flatnonzero(self.out_of_range[start:stop])

    def json_columns(self, start: int, stop: int) -> list[bytes]:
        """A request's predictions: a JSON array for each target, of the shortest digits that read back as the same."""
        alone = stop - start == len(self)  # nothing to hand out in pieces
        if not alone and len(self) <= _WRITTEN_TOGETHER:
            return [b"[%b]" % b",".join(numbers[start:stop]) for numbers in self._numbers]
        return [write_json(column) for column in np.ascontiguousarray(self.predictions[start:stop].T)]

    @cached_property
    def _any_outside(self) -> bool:
        return bool(self.out_of_range.any())

    @cached_property
    def _numbers(self) -> list[list[bytes]]:
        return [write_json(column)[1:-1].split(b",") for column in np.ascontiguousarray(self.predictions.T)]


def write_json(values: NDArray[Any]) -> bytes:
    """Return an array, of any number of dimensions, as JSON; a large one is written in blocks along its first."""
    if values.size <= _WRITTEN_AT_ONCE:
        return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    step = max(1, _WRITTEN_AT_ONCE * len(values) // values.size)
    blocks = (values[at : at + step] for at in range(0, len(values), step))
    written = [orjson.dumps(block, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b"," for block in blocks]
    written[-1] = written[-1][:-1] + b"]"
    return pieces.joined([b"[", *written])

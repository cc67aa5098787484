"""How the values of each feature lie in the range that training saw: one histogram a feature, in blocks of rows."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.counts import Histogram
from service.entry import Rows
from service.manifest import Column

_BUCKETS_IN_RANGE = 10
# So many values at once stay in a core's cache, and hold nobody up.
_BLOCK_VALUES = 8192

# For each bound and feature, how many values are not above it; and for each feature the sum of its values.
Tally: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What predictions are counted for: a version, and its features with their training ranges."""

    model: str
    version: int
    features: tuple[Column, ...]


class FeatureValues:
    """The histograms of a version's features: ten equal buckets from minimum to maximum, one below and one above."""

    def __init__(self, features: tuple[Column, ...]) -> None:
        minimum = [column.minimum for column in features]
        maximum = [column.maximum for column in features]
        # No bound is -0.0, which would be another bucket than 0.0 with the same bound.
        self._bounds = np.linspace(minimum, maximum, _BUCKETS_IN_RANGE + 1).astype(np.float32) + np.float32(0)
        self._names = [(*map(str, bounds), "+Inf") for bounds in self._bounds.T]
        self._counts = np.zeros((len(self._bounds) + 1, len(features)), dtype=np.int64)
        self._sums = np.zeros(len(features))
        self._kept = np.empty((max(1, _BLOCK_VALUES // len(features)), len(features)), dtype=np.float32)
        self._kept_rows = 0

    def keep(self, rows: Rows) -> bool:
        """Copy rows ``[N, features]``, to be counted when there is a block of them; false where they are too many."""
        if len(rows) > len(self._kept):
            return False
        stop = self._kept_rows + len(rows)
        if stop > len(self._kept):
            self._count_kept()
            stop = len(rows)
        self._kept[self._kept_rows : stop] = rows
        self._kept_rows = stop
        return True

    def tally(self, rows: Rows) -> Tally:
        """What `add` adds for rows ``[N, features]``; may be called in a thread."""
        counts = np.zeros_like(self._counts)
        sums = np.zeros_like(self._sums)
        for at in range(0, len(rows), len(self._kept)):
            block = np.ascontiguousarray(rows[at : at + len(self._kept)].T)
            for feature, values in enumerate(block):
                counts[:-1, feature] += [np.count_nonzero(values <= bound) for bound in self._bounds[:, feature]]
            sums += block.sum(axis=1, dtype=np.float64)
        counts[-1] = len(rows)
        return counts, sums

    def add(self, tally: Tally) -> None:
        """Count what was tallied."""
        self._counts += tally[0]
        self._sums += tally[1]

    def histograms(self) -> list[Histogram]:
        """As they are now, in the order of the features."""
        self._count_kept()
        columns = self._counts.T.copy()
        return [
            Histogram(names, column, float(total))
            for names, column, total in zip(self._names, columns, self._sums, strict=True)
        ]

    def _count_kept(self) -> None:
        self.add(self.tally(self._kept[: self._kept_rows]))
        self._kept_rows = 0

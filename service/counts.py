"""Numbers and histograms, by the family and the label values that they are of: they add up, over processes too.

Knows neither what is counted nor Prometheus.
"""

from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

# A family's name, and a value for each of its labels.
Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values are not above each bound, the last of which is +Inf; and the sum of all values."""

    bounds: tuple[str, ...]
    counts: NDArray[np.int64]
    sum: float

    def plus(self, later: "Histogram") -> "Histogram":
        """Both together; where the bounds have changed since, the later one alone."""
        if later.bounds != self.bounds:
            return later
        return Histogram(self.bounds, self.counts + later.counts, self.sum + later.sum)


class Counts:
    """Numbers and histograms by key."""

    def __init__(self) -> None:
        self.numbers: dict[Key, float] = {}
        self.histograms: dict[Key, Histogram] = {}

    def add(self, key: Key, number: float) -> None:
        """So many more."""
        self.numbers[key] = self.numbers.get(key, 0) + number

    def observe(self, key: Key, histogram: Histogram) -> None:
        """These values too."""
        before = self.histograms.get(key)
        self.histograms[key] = before.plus(histogram) if before else histogram

    def include(self, other: "Counts") -> None:
        """All that the other one has."""
        for key, number in other.numbers.items():
            self.add(key, number)
        for key, histogram in other.histograms.items():
            self.observe(key, histogram)

    def document(self) -> dict[str, Any]:
        """What `read` understands, of lists, texts, numbers and arrays."""
        histograms = self.histograms.items()
        return {
            "numbers": list(self.numbers.items()),
            "histograms": [[key, found.bounds, found.counts, found.sum] for key, found in histograms],
        }

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        """What `document` gave, after its way through JSON."""
        counts = cls()
        counts.numbers = {tuple(key): number for key, number in document["numbers"]}
        counts.histograms = {
            tuple(key): Histogram(tuple(bounds), np.array(found, dtype=np.int64), total)
            for key, bounds, found, total in document["histograms"]
        }
        return counts

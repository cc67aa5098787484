"""How often a model has run, by the size of the batch: an append on the hot path."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

_COUNTED_TOGETHER = 1000
# Larger batches are counted under the next power of two, so that there are never many sizes.
_MOST_EXACT = 128


@dataclass(slots=True)
class Timed:
    """So many of something, and the seconds that they took together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.seconds += seconds


class Executions:
    """The executions of one version, and in `failed` its requests that waited for one and failed.

    Every method is called on the event loop.
    """

    def __init__(self) -> None:
        self.failed = Timed()
        self._recent: list[tuple[int, float]] = []
        self._by_size: dict[int, Timed] = defaultdict(Timed)

    def add(self, rows: int, seconds: float) -> None:
        """The model ran once, for so many rows."""
        self._recent.append((rows, seconds))
        if len(self._recent) >= _COUNTED_TOGETHER:
            self._count()

    def by_size(self) -> Mapping[int, Timed]:
        """How often it ran, by batch size, ascending; above 128 rows, by the next power of two."""
        self._count()
        return dict(sorted(self._by_size.items()))

    def _count(self) -> None:
        recent, self._recent = self._recent, []
        for rows, seconds in recent:
            size = rows if rows <= _MOST_EXACT else 1 << (rows - 1).bit_length()
            self._by_size[size].add(seconds)

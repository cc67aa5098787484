"""Leaves out lines of the log that are like one of the last second, and counts them. Knows no form."""

from collections.abc import Hashable
from time import monotonic

_SECONDS_BETWEEN = 1.0
_MOST_KINDS = 1000


class Alike:
    """Lets one line a second and kind pass, so that a flood of them does not become work."""

    def __init__(self) -> None:
        self._next: dict[Hashable, float] = {}
        self._unsaid: dict[Hashable, int] = {}

    def left_out(self, kind: Hashable) -> int | None:
        """Return how many lines of this kind were left out since the last one; None says to leave this one out too."""
        now = monotonic()
        if now < self._next.get(kind, 0.0):
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return None
        if len(self._next) >= _MOST_KINDS:
            self._next.clear()
        self._next[kind] = now + _SECONDS_BETWEEN
        return self._unsaid.pop(kind, 0)

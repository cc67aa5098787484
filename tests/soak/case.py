"""What a case is: it observes a real service, its checker finds faults in what was seen, and a planted one to be found.

Knows no case.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

_FULL_MINUTES = 30


class Seen(Protocol):
    """What one observation says of itself in the table."""

    @property
    def sent(self) -> str:
        """What went to the service."""

    @property
    def saw(self) -> str:
        """What came of it."""


@dataclass(frozen=True, slots=True)
class Soak:
    """How long all of it may take, and a folder of the case's own."""

    minutes: float
    folder: Path

    def seconds(self, share: float) -> float:
        """That share of the whole time."""
        return self.minutes * 60 * share

    def count(self, short: int, full: int) -> int:
        """`short` in a minute, `full` in thirty, and so many between."""
        return round(short + (full - short) * min(1.0, max(0.0, (self.minutes - 1) / (_FULL_MINUTES - 1))))


SeenT = TypeVar("SeenT", bound=Seen)


@dataclass(frozen=True, slots=True)
class Case(Generic[SeenT]):
    """`faults` names what is wrong in what was seen: nothing of `observe`, at least one thing of `planted`."""

    name: str
    observe: Callable[[Soak], SeenT]
    faults: Callable[[SeenT], list[str]]
    planted: Callable[[Soak], SeenT]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the table."""

    name: str
    sent: str
    saw: str
    faults: list[str]
    caught: list[str]

    @property
    def passed(self) -> bool:
        """Nothing was wrong, and the planted fault was caught."""
        return bool(self.caught) and not self.faults

    @property
    def text(self) -> str:
        """In words."""
        if self.faults:
            return f"FAILED: {'; '.join(self.faults)}"
        return "held" if self.caught else "FAILED: the planted fault was not caught"

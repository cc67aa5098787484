"""How sure an answer shall be: from what `interval` says to the order statistics that bound it. Knows no network."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from service.entry import Rows
from service.manifest import Interval
from service.problems import Fault, WrongValues

QUERY = "query: interval"
# Longer than any float64 is written.
_MOST_CHARACTERS = 40
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Level:
    """A coverage that was asked for, what is guaranteed of it, and which smallest and largest bounds give it."""

    coverage: float
    guaranteed: float
    rank: int


def level(text: str, interval: Interval | None, where: str = QUERY) -> Level:
    """What `text` asks of a version; raises WrongValues, `where` it stands, for what that version cannot give."""
    if interval is None:
        raise _wrong(where, "asks for an interval, and this version has none")
    if len(text) > _MOST_CHARACTERS or not _NUMBER.fullmatch(text):
        raise _wrong(where, "is not a number, such as 0.9")
    return _level(text, interval.readings, interval.folds, where)


@lru_cache(maxsize=1024)
def _level(text: str, readings: int, folds: int, where: str) -> Level:
    """Exact, as 0.9 of nine readings is just possible, and floats would not say so."""
    coverage = Fraction(text)
    if not 0 < coverage < 1 or not float(coverage):
        raise _wrong(where, "is not between 0 and 1")
    rank = int((1 - coverage) * (readings + 1))
    if rank < 1:
        highest = 10_000 * readings // (readings + 1) / 10_000
        needed = -int(-1 // (1 - coverage)) - 1
        raise _wrong(where, f"is above {highest}, the highest that {readings} readings can give; it needs {needed}")
    guaranteed = 1 - 2 * (1 - coverage) - _of_folds(readings, folds)
    return Level(float(coverage), max(0.0, float(guaranteed)), rank)


def _of_folds(readings: int, folds: int) -> Fraction:
    """What CV+ guarantees less than jackknife+: theorem 4 of Barber et al. 2021; nothing where K is n."""
    n, k = Fraction(readings), Fraction(folds)
    return min(2 * (1 - 1 / k) / (n / k + 1), (1 - k / n) / (k + 1))


def ranked(rows: Rows, rank: int) -> Rows:
    """Rows ``[N, features]`` with their rank behind the features, so that a batch may have several."""
    found = np.empty((len(rows), rows.shape[1] + 1), dtype=np.float32)
    found[:, :-1], found[:, -1] = rows, rank
    return found


def _wrong(where: str, why: str) -> WrongValues:
    return WrongValues(f"{where} {why}", faults=[Fault(where, why)])

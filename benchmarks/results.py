"""What was measured, what was hoped for, and what follows: samples, goals, and the rows of the table."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

RATE = "requests/s, of bare"
VALUES = "values/s, of bare echo"
P50 = "p50, of bare"
P99 = "p99, of bare"
TENSORS = "values/s as raw tensors, of bare's JSON"
OF_MOSEC = "values/s, of mosec"
START = "start to first answer, s"
MEMORY = "idle memory, MiB"
PROBE = "a probe beside the load, p99 ms"
VALUE = "a single value beside the load, p99 ms"
ROWS_HTTP = "off a + b rows at most, over HTTP, %"
ROWS_ALONE = "off a + b rows at most, network alone, %"
MODELS = "p50 with 100 models, of one"
FLOORS = "network alone, of its floors"
INTERVAL = "time with an interval, of without"
MEMBERS = "networks fitted in the time of one"

OURS = "ours"
PORTABLE = "ours, portable door"
BARE = "bare"


@dataclass(frozen=True)
class Sample:
    """One measurement: the value that is compared (a ratio, where ``what`` says "of"), and what it was made from."""

    workload: str
    what: str
    server: str
    value: float
    measured: float
    unit: str


Record: TypeAlias = Callable[[Sample], None]


@dataclass(frozen=True)
class Goal:
    """A promise about the median of one row of the table."""

    workload: str
    what: str
    limit: float
    at_least: bool
    server: str = OURS

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"

    def verdict(self, median: float) -> str:
        """``met``, or by how much it was missed."""
        missed = 1 - median / self.limit if self.at_least else median / self.limit - 1
        return "met" if missed <= 0 else f"missed by {missed:.0%}"


GOALS = (
    Goal("W1", RATE, 1.4, at_least=True),
    Goal("W1", RATE, 0.65, at_least=True, server=PORTABLE),
    Goal("W1", P99, 2.5, at_least=False),
    Goal("W1", P99, 2.5, at_least=False, server=PORTABLE),
    Goal("W2", P50, 1.8, at_least=False),
    Goal("W3", VALUES, 0.25, at_least=True),
    Goal("W4", OF_MOSEC, 2, at_least=True),
    # Triton's best is 15.5 M values/s as raw tensors where bare echoes 184 M values/s as JSON; and 1.2 times that.
    Goal("W4", TENSORS, 0.101, at_least=True),
    Goal("W5", START, 1.6, at_least=False),
    Goal("W5", MEMORY, 260, at_least=False),
    Goal("W6", RATE, 1.3, at_least=True),
    Goal("W7", PROBE, 30, at_least=False),
    Goal("W7", VALUE, 30, at_least=False),
    Goal("W8", ROWS_HTTP, 15, at_least=False),
    Goal("W8", ROWS_ALONE, 15, at_least=False),
    Goal("W8", MODELS, 1.1, at_least=False),
    Goal("W9", FLOORS, 1.3, at_least=False),
    Goal("W10", INTERVAL, 3, at_least=False),
    Goal("W11", MEMBERS, 80, at_least=True),
)


@dataclass(frozen=True)
class Row:
    """All samples of one thing measured on one server, summed up."""

    workload: str
    what: str
    server: str
    minimum: float
    median: float
    maximum: float
    measured: float
    unit: str
    goal: str
    verdict: str


def summarise(samples: Sequence[Sample]) -> list[Row]:
    """One row for each thing measured on each server, by workload, in the order of measurement."""
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in (*samples, *_of_mosec(samples)):
        groups.setdefault((sample.workload, sample.what, sample.server), []).append(sample)
    whats = list(dict.fromkeys(key[:2] for key in groups))
    ordered = sorted(groups, key=lambda key: (int(key[0].removeprefix("W")), whats.index(key[:2])))
    return [_row(groups[key]) for key in ordered]


def goal_of(subject: "Sample | Row") -> Goal | None:
    """The promise about this measurement, if there is one."""
    key = (subject.workload, subject.what, subject.server)
    return next((goal for goal in GOALS if (goal.workload, goal.what, goal.server) == key), None)


def _row(group: Sequence[Sample]) -> Row:
    first = group[0]
    measured = statistics.median(sample.measured for sample in group)
    values = [sample.value for sample in group]
    if first.server == BARE and "of bare" in first.what:
        # Its ratio to itself would be 1; to its own median, it shows how much the machine wavers.
        values = [sample.measured / measured for sample in group]
    median = statistics.median(values)
    goal = goal_of(first)
    return Row(
        first.workload,
        first.what,
        first.server,
        min(values),
        median,
        max(values),
        measured,
        first.unit,
        str(goal) if goal else "",
        goal.verdict(median) if goal else "",
    )


def _of_mosec(samples: Iterable[Sample]) -> list[Sample]:
    """W4 asks for a multiple of mosec: each of our rounds against mosec's in the same round."""
    large = [sample for sample in samples if (sample.workload, sample.what) == ("W4", VALUES)]
    ours = [sample for sample in large if sample.server == OURS]
    theirs = [sample for sample in large if sample.server == "mosec"]
    return [
        Sample("W4", OF_MOSEC, OURS, our.measured / their.measured, our.measured, our.unit)
        for our, their in zip(ours, theirs, strict=False)
    ]

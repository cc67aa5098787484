"""What one process has seen, counted: an append on the hot path, sums and histograms when somebody asks for them."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.counts import Counts, Histogram, Key
from service.entry import Entry, Rows
from service.features import FeatureValues, Subject

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
_COUNTED_TOGETHER = 1000
# Rows of so few values are kept until they are counted; those of so many are counted in a thread.
_FEW_VALUES = 64
_MANY_VALUES = 8192

_Response: TypeAlias = tuple[str, str, int, float]
_Prediction: TypeAlias = tuple[Subject, float, float, int, int, int, float, Rows]


class _Bins:
    """Counts of values by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._names = (*map(str, bounds), "+Inf")
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        found = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        self._counts += found.cumsum()
        self._sum += float(values.sum())

    def histogram(self) -> Histogram:
        return Histogram(self._names, self._counts.copy(), self._sum)


@dataclass(slots=True)
class Predicted:
    """What one version has predicted: requests, their rows, and the seconds that they waited and that the model ran.

    `last` is when the last of them was queued, by ``perf_counter``.
    """

    requests: int = 0
    rows: int = 0
    waited: float = 0.0
    ran: float = 0.0
    last: float | None = None

    def count(self, events: NDArray[np.float64]) -> None:
        """Add these events, in their order."""
        self.requests += len(events)
        self.rows += int(events[:, 3].sum())
        self.waited += float(events[:, 0].sum())
        self.ran += float(events[:, 1].sum())
        self.last = float(events[-1, 5])


class Metrics:
    """What one process has counted; every method is called on the event loop.

    Events are kept as they come, and counted a thousand at a time: the hot path pays for an append.
    """

    def __init__(self) -> None:
        self._responses: list[_Response] = []
        self._predictions: list[_Prediction] = []
        self._numbers: Counter[Key] = Counter()
        self._bins: dict[Key, _Bins] = {}
        self._features: dict[Subject, FeatureValues] = {}
        self._versions: dict[tuple[str, int], Predicted] = defaultdict(Predicted)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    def responded(self, route: str, model: str, status: int, seconds: float) -> None:
        """A response was given, `seconds` after its request's headers; `route` is a template, `model` may be empty."""
        self._responses.append((route, model, status, seconds))
        if len(self._responses) >= _COUNTED_TOGETHER:
            self._count()

    def predicted(self, subject: Subject, entry: Entry, out_of_range: int) -> None:
        """A request's rows were predicted, so many of them out of range."""
        rows = entry.rows
        if rows.shape[1] > len(subject.features):  # for an interval, its rank is behind them
            rows = rows[:, :-1]
        if rows.size > _FEW_VALUES:
            rows = self._count_now(subject, rows)
        elif rows.base is not None:  # a view, perhaps of a large request's body
            rows = rows.copy()
        self._predictions.append(
            (subject, entry.waited, entry.ran, entry.batch, len(entry.rows), out_of_range, entry.arrived, rows)
        )

    def failed(self, kind: str) -> None:
        """A request was answered with a problem of this kind."""
        self._numbers["problems", kind] += 1

    def version(self, model: str, number: int) -> Predicted:
        """What this version has predicted since the process began."""
        self._count()
        return self._versions[model, number]

    async def counts(self) -> Counts:
        """All of it, as it is now."""
        # What was handed to the thread before is counted then.
        await asyncio.get_running_loop().run_in_executor(self._thread, int)
        self._count()
        counts = Counts()
        counts.numbers.update(self._numbers)
        counts.histograms.update({key: bins.histogram() for key, bins in self._bins.items()})
        for subject, values in self._features.items():
            for column, histogram in zip(subject.features, values.histograms(), strict=True):
                counts.observe(("feature_values", subject.model, str(subject.version), column.name), histogram)
        return counts

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _count_now(self, subject: Subject, rows: Rows) -> Rows:
        """Count the values of rows that are too many to be kept; no rows, to be kept in their place."""
        values = self._values(subject)
        if rows.size <= _MANY_VALUES:
            values.add(values.tally(rows))
        else:
            tallied = asyncio.get_running_loop().run_in_executor(self._thread, values.tally, rows)
            tallied.add_done_callback(lambda done: None if done.cancelled() else values.add(done.result()))
        return rows[:0].copy()

    def _values(self, subject: Subject) -> FeatureValues:
        if subject not in self._features:
            self._features[subject] = FeatureValues(subject.features)
        return self._features[subject]

    def _count(self) -> None:
        responses, self._responses = self._responses, []
        predictions, self._predictions = self._predictions, []
        for (route, model, status), count in Counter([response[:3] for response in responses]).items():
            self._numbers["requests", route, model, str(status)] += count
        for route in {response[0] for response in responses}:
            seconds = [response[3] for response in responses if response[0] == route]
            self._observe(("request_seconds", route), _SECONDS, np.array(seconds))
        for subject in {prediction[0] for prediction in predictions}:
            self._count_predictions(subject, [event[1:] for event in predictions if event[0] is subject])

    def _count_predictions(self, subject: Subject, predictions: Sequence[tuple[*tuple[float, ...], Rows]]) -> None:
        events = np.array([event[:-1] for event in predictions], dtype=np.float64)
        model, version = subject.model, str(subject.version)
        self._observe(("queue_seconds", model), _SECONDS, events[:, 0])
        self._observe(("model_seconds", model), _SECONDS, events[:, 1])
        self._observe(("batch_rows", model), _ROWS, events[:, 2])
        self._numbers["rows", model, version] += int(events[:, 3].sum())
        self._numbers["out_of_range_rows", model, version] += int(events[:, 4].sum())
        self._versions[model, subject.version].count(events)
        values = self._values(subject)
        values.add(values.tally(np.concatenate([event[-1] for event in predictions])))

    def _observe(self, key: Key, bounds: Sequence[float], values: NDArray[np.float64]) -> None:
        bins = self._bins.get(key) or self._bins.setdefault(key, _Bins(bounds))
        bins.observe(values)

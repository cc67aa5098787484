"""What one process has seen, counted: an append on the hot path, sums and histograms when somebody asks for them."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.counts import Counts, Histogram, Key
from service.entry import Entry
from service.features import FeatureValues, Subject

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
_COUNTED_TOGETHER = 1000

# Seconds waited and run, rows of the batch, own rows, those of them out of range, and when it was queued.
_Prediction: TypeAlias = tuple[float, float, int, int, int, float]
_PREDICTION_VALUES = 6


class _Bins:
    """Counts of values by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds)
        self._names = (*map(str, bounds), "+Inf")
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        found = np.bincount(self._bounds.searchsorted(values), minlength=len(self._counts))
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

    Events are kept as they come, and counted a thousand at a time: the hot path pays for an append and a copy.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        self._predictions: dict[Subject, list[_Prediction]] = defaultdict(list)
        self._numbers: Counter[Key] = Counter()
        self._bins: dict[Key, _Bins] = {}
        self._features: dict[Subject, FeatureValues] = {}
        self._versions: dict[tuple[str, int], Predicted] = defaultdict(Predicted)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    def responded(self, route: str, model: str, status: int, seconds: float) -> None:
        """A response was given, `seconds` after its request's headers; `route` is a template, `model` may be empty."""
        kept = self._seconds[route, model, status]
        kept.append(seconds)
        if len(kept) >= _COUNTED_TOGETHER:
            self._count()

    def predicted(self, subject: Subject, entry: Entry, out_of_range: int) -> None:
        """A request's rows were predicted, so many of them out of range."""
        rows = entry.rows
        if rows.shape[1] > len(subject.features):  # for an interval, its rank is behind them
            rows = rows[:, :-1]
        self._predictions[subject].append(
            (entry.waited, entry.ran, entry.batch, len(rows), out_of_range, entry.arrived)
        )
        values = self._features.get(subject) or self._features.setdefault(subject, FeatureValues(subject.features))
        if not values.keep(rows):
            tallied = asyncio.get_running_loop().run_in_executor(self._thread, values.tally, rows)
            tallied.add_done_callback(lambda done: None if done.cancelled() else values.add(done.result()))

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

    def _count(self) -> None:
        for (route, model, status), kept in self._seconds.items():
            self._numbers["requests", route, model, str(status)] += len(kept)
            self._observe(("request_seconds", route), _SECONDS, np.array(kept))
            kept.clear()
        for subject, predictions in self._predictions.items():
            if predictions:
                self._count_predictions(subject, predictions)
                predictions.clear()

    def _count_predictions(self, subject: Subject, predictions: Sequence[_Prediction]) -> None:
        events = np.fromiter(chain.from_iterable(predictions), dtype=np.float64).reshape(-1, _PREDICTION_VALUES)
        model, version = subject.model, str(subject.version)
        self._observe(("queue_seconds", model), _SECONDS, events[:, 0])
        self._observe(("model_seconds", model), _SECONDS, events[:, 1])
        self._observe(("batch_rows", model), _ROWS, events[:, 2])
        self._numbers["rows", model, version] += int(events[:, 3].sum())
        self._numbers["out_of_range_rows", model, version] += int(events[:, 4].sum())
        self._versions[model, subject.version].count(events)

    def _observe(self, key: Key, bounds: Sequence[float], values: NDArray[np.float64]) -> None:
        bins = self._bins.get(key) or self._bins.setdefault(key, _Bins(bounds))
        bins.observe(values)

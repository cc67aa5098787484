"""What happened, counted: an append on the hot path, Prometheus metrics when somebody asks for them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.entry import Entry

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)
_COUNTED_TOGETHER = 1000


class _Histogram:
    """Counts of values by upper bound; the last count is of what is above all bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        self._counts += np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        self.sum += float(values.sum())

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Prometheus's form: each bound with how many values are not above it."""
        names = (*map(str, self._bounds), "+Inf")
        yield from zip(names, self._counts.cumsum().astype(float).tolist(), strict=True)


class _Model:
    def __init__(self) -> None:
        self.waited = _Histogram(_SECONDS)
        self.ran = _Histogram(_SECONDS)
        self.batch = _Histogram(_ROWS)
        self.rows = 0
        self.out_of_range = 0

    def count(self, events: NDArray[np.float64]) -> None:
        self.waited.observe(events[:, 0])
        self.ran.observe(events[:, 1])
        self.batch.observe(events[:, 2])
        self.rows += int(events[:, 3].sum())
        self.out_of_range += int(events[:, 4].sum())


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


class Metrics(Collector):
    """What one process has counted; every method is called on the event loop.

    Events are kept as they come, and counted a thousand at a time: the hot path pays for an append.
    """

    def __init__(self) -> None:
        self._responses: list[tuple[str, str, int, float]] = []
        self._predictions: list[tuple[str, int, float, float, int, int, int, float]] = []
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[str, _Histogram] = defaultdict(lambda: _Histogram(_SECONDS))
        self._models: dict[str, _Model] = defaultdict(_Model)
        self._versions: dict[tuple[str, int], Predicted] = defaultdict(Predicted)
        self._problems: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def responded(self, route: str, model: str, status: int, seconds: float) -> None:
        """A response was given, `seconds` after its request's headers; `route` is a template, `model` may be empty."""
        self._responses.append((route, model, status, seconds))
        if len(self._responses) >= _COUNTED_TOGETHER:
            self._count()

    def predicted(self, model: str, version: int, entry: Entry, out_of_range: int) -> None:
        """A request's rows were predicted, so many of them out of range."""
        self._predictions.append(
            (model, version, entry.waited, entry.ran, entry.batch, len(entry.rows), out_of_range, entry.arrived)
        )

    def failed(self, kind: str) -> None:
        """A request was answered with a problem of this kind."""
        self._problems[kind] += 1

    def version(self, model: str, number: int) -> Predicted:
        """What this version has predicted since the process began."""
        self._count()
        return self._versions[model, number]

    def _count(self) -> None:
        responses, self._responses = self._responses, []
        predictions, self._predictions = self._predictions, []
        self._requests.update(response[:3] for response in responses)
        for route in {response[0] for response in responses}:
            seconds = [response[3] for response in responses if response[0] == route]
            self._seconds[route].observe(np.array(seconds))
        for version in {prediction[:2] for prediction in predictions}:
            events = np.array([event[2:] for event in predictions if event[:2] == version], dtype=np.float64)
            self._models[version[0]].count(events)
            self._versions[version].count(events)

    def exposition(self) -> bytes:
        """https://prometheus.io/docs/instrumenting/exposition_formats/."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families that docs/metrics.md lists."""
        self._count()
        requests = CounterMetricFamily("calibrant_requests", "Responses given.", labels=["route", "model", "status"])
        for (route, model, status), count in self._requests.items():
            requests.add_metric([route, model, str(status)], count)
        yield requests
        yield _counter("problems", "Problems answered, by kind.", "kind", self._problems)
        yield _histogram("request_seconds", "From a request's headers to its response.", "route", self._seconds)
        models = self._models.items()
        waited = {model: counted.waited for model, counted in models}
        yield _histogram("queue_seconds", "How long each request waited.", "model", waited)
        ran = {model: counted.ran for model, counted in models}
        yield _histogram("model_seconds", "How long the model ran for each request's batch.", "model", ran)
        batch = {model: counted.batch for model, counted in models}
        yield _histogram("batch_rows", "Rows that shared each request's last batch.", "model", batch)
        yield _counter("rows", "Rows predicted.", "model", {model: counted.rows for model, counted in models})
        outside = {model: counted.out_of_range for model, counted in models}
        yield _counter("out_of_range_rows", "Of them, those outside the training range.", "model", outside)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"calibrant_{name}", text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, label: str, histograms: Mapping[str, _Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"calibrant_{name}", text, labels=[label])
    for value, histogram in histograms.items():
        family.add_metric([value], list(histogram.buckets()), histogram.sum)
    return family

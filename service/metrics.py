"""What happened, counted: plain integers on the hot path, Prometheus metrics when somebody asks for them."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engine import Entry

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0)


class _Histogram:
    """Counts of values by upper bound; the last count is of what is above all bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Prometheus's form: each bound with how many values are not above it."""
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield bound, float(total)


class _Model:
    def __init__(self) -> None:
        self.waited = _Histogram(_SECONDS)
        self.ran = _Histogram(_SECONDS)
        self.batch = _Histogram(_ROWS)
        self.rows = 0
        self.out_of_range = 0


class Metrics(Collector):
    """What one process has counted; every method is called on the event loop."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: dict[str, _Histogram] = defaultdict(lambda: _Histogram(_SECONDS))
        self._models: dict[str, _Model] = defaultdict(_Model)
        self._problems: dict[str, int] = defaultdict(int)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def responded(self, route: str, model: str, status: int, seconds: float) -> None:
        """A response was given, `seconds` after its request's headers; `route` is a template, `model` may be empty."""
        self._requests[route, model, status] += 1
        self._seconds[route].observe(seconds)

    def predicted(self, model: str, entry: Entry, out_of_range: int) -> None:
        """A request's rows were predicted, so many of them out of range."""
        counted = self._models[model]
        counted.waited.observe(entry.waited)
        counted.ran.observe(entry.ran)
        counted.batch.observe(entry.batch)
        counted.rows += len(entry.rows)
        counted.out_of_range += out_of_range

    def failed(self, kind: str) -> None:
        """A prediction was refused with a problem of this kind."""
        self._problems[kind] += 1

    def exposition(self) -> bytes:
        """https://prometheus.io/docs/instrumenting/exposition_formats/."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families that docs/metrics.md lists."""
        requests = CounterMetricFamily("calibrant_requests", "Responses given.", labels=["route", "model", "status"])
        for (route, model, status), count in self._requests.items():
            requests.add_metric([route, model, str(status)], count)
        yield requests
        yield _counter("problems", "Predictions refused, by kind of problem.", "kind", self._problems)
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

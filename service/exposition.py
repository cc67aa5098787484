"""Prometheus's text of what was counted: the families that docs/metrics.md lists, over all workers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.counts import Counts
from service.snapshots import Worker

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    type: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()


_VERSION = ("model", "version")
_FEATURE = (*_VERSION, "feature")
_FAMILIES = (
    _Family("requests", "counter", "Responses given.", ("route", "model", "status")),
    _Family("problems", "counter", "Problems answered, by kind.", ("kind",)),
    _Family("request_seconds", "histogram", "From a request's headers to its response.", ("route",)),
    _Family("queue_seconds", "histogram", "How long each request waited.", ("model",)),
    _Family("model_seconds", "histogram", "How long the model ran for each request's batch.", ("model",)),
    _Family("batch_rows", "histogram", "Rows that shared each request's last batch.", ("model",)),
    _Family("rows", "counter", "Rows predicted.", _VERSION),
    _Family("out_of_range_rows", "counter", "Of them, those outside the training range.", _VERSION),
    _Family("feature_values", "histogram", "Values of each feature, by tenths of its training range.", _FEATURE),
    _Family("feature_minimum", "gauge", "The least value that training saw.", _FEATURE),
    _Family("feature_maximum", "gauge", "The greatest value that training saw.", _FEATURE),
    _Family("queue_rows", "gauge", "Rows that wait or run now.", _VERSION),
    _Family("queue_limit_rows", "gauge", "Most rows that may wait or run.", _VERSION),
    _Family("version_state", "gauge", "Workers in which a version is in this state.", (*_VERSION, "state")),
    _Family("version_differs", "gauge", "Workers in which a version serves whose files have changed.", _VERSION),
    _Family("warnings", "gauge", "Warnings about a model's folder, or without a name the whole one.", ("model",)),
    _Family("swaps", "counter", "Times that another version became a model's default.", ("model",)),
    _Family("failed_loads", "counter", "Versions that were found and did not go live.", ("model",)),
    _Family("workers", "gauge", "Processes that serve."),
    _Family("ready_workers", "gauge", "Of them, those in which the default model serves."),
    _Family("worker_starts", "counter", "Processes started."),
    _Family("info", "gauge", "The service's version, and where its networks run.", ("version", "device")),
)


def exposition(workers: Sequence[Worker], facts: Counts) -> bytes:
    """https://prometheus.io/docs/instrumenting/exposition_formats/; `facts` are the same in every worker."""
    registry = CollectorRegistry()
    registry.register(_Families(workers, facts))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, workers: Sequence[Worker], facts: Counts) -> None:
        self._live = [worker for worker in workers if worker.lives()]
        self._all = Counts()
        for counts in (*(worker.counts for worker in workers), *(worker.now for worker in self._live), facts):
            self._all.include(counts)

    def collect(self) -> Iterator[Metric]:
        for family in _FAMILIES:
            yield self._metric(family)
        yield from _process(self._live)

    def _metric(self, family: _Family) -> Metric:
        name = f"calibrant_{family.name}"
        if family.type == "histogram":
            histogram = HistogramMetricFamily(name, family.text, labels=family.labels)
            for (of, *labels), found in self._all.histograms.items():
                if of == family.name:
                    # A narrow range has bounds that are the same.
                    buckets = dict(zip(found.bounds, found.counts.astype(float).tolist(), strict=True))
                    histogram.add_metric(labels, list(buckets.items()), found.sum)
            return histogram
        form = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
        single = form(name, family.text, labels=family.labels)
        for (of, *labels), number in self._all.numbers.items():
            if of == family.name:
                single.add_metric(labels, number)
        return single


def _process(workers: Iterable[Worker]) -> Iterator[Metric]:
    """Prometheus's standard metrics of each process: its memory, its processor time, its open files."""
    families: dict[str, Metric] = {}
    for worker in workers:
        collector = ProcessCollector(pid=lambda pid=worker.pid: pid, registry=None)  # type: ignore[misc]
        for family in collector.collect():
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {"worker": worker.name}, sample.value)
    yield from families.values()

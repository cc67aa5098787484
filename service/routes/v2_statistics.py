"""Triton's statistics extension: what every version has done since the process began, through whichever door.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

import time

from fastapi import APIRouter
from pydantic import BaseModel

from service.executions import Timed
from service.metrics import Metrics
from service.resolve import Resolver
from service.routes.chosen import ModelName, VersionReference
from service.routes.v2 import routes
from service.served import Served
from service.store import Store


class Duration(BaseModel):
    """So many, and the nanoseconds that they took together."""

    count: int = 0
    ns: int = 0


class InferenceStatistics(BaseModel):
    """Requests: those that succeeded, in the queue and in the model, and those that waited for the model and failed.

    `compute_infer` is the model's run; what comes before and after it is not measured by itself, and nothing is cached.
    """

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration = Duration()
    compute_infer: Duration
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


class BatchStatistics(BaseModel):
    """Executions with so many rows; above 128 rows, with up to so many, a power of two."""

    batch_size: int
    compute_input: Duration = Duration()
    compute_infer: Duration
    compute_output: Duration = Duration()


class ModelStatistics(BaseModel):
    """A version's; `last_inference` is in milliseconds since 1970, 0 for none, `inference_count` counts rows."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class StatisticsList(BaseModel):
    """Every version's that is ready."""

    model_stats: list[ModelStatistics]


def router(store: Store, resolver: Resolver, metrics: Metrics) -> APIRouter:
    """GET the statistics of all models, of one, and of one version."""
    statistics = routes()

    def of(model: str) -> list[ModelStatistics]:
        versions = resolver.model(model).versions.values()
        return [_statistics(version.served, metrics) for version in versions if version.served]

    @statistics.get("/v2/models/stats", summary="Statistics of every model")
    async def all_models() -> StatisticsList:
        """What each version that is ready has done since the process began."""
        return StatisticsList(model_stats=[one for model in store.catalog.models for one in of(model)])

    @statistics.get("/v2/models/{model}/stats", summary="Statistics of a model")
    async def one_model(model: ModelName) -> StatisticsList:
        """The same for one model's versions."""
        return StatisticsList(model_stats=of(model))

    @statistics.get("/v2/models/{model}/versions/{version}/stats", summary="Statistics of a version")
    async def one_version(model: ModelName, version: VersionReference) -> StatisticsList:
        """The same for one of them."""
        return StatisticsList(model_stats=[_statistics(resolver.served(model, version), metrics)])

    return statistics


def _statistics(served: Served, metrics: Metrics) -> ModelStatistics:
    predicted = metrics.version(served.model, served.number)
    executions = served.engine.executions
    by_size = executions.by_size()
    ago = None if predicted.last is None else time.perf_counter() - predicted.last
    return ModelStatistics(
        name=served.model,
        version=str(served.number),
        last_inference=0 if ago is None else int((time.time() - ago) * 1000),
        inference_count=predicted.rows,
        execution_count=sum(executed.count for executed in by_size.values()),
        inference_stats=InferenceStatistics(
            success=_duration(predicted.requests, predicted.waited + predicted.ran),
            fail=_timed(executions.failed),
            queue=_duration(predicted.requests, predicted.waited),
            compute_infer=_duration(predicted.requests, predicted.ran),
        ),
        batch_stats=[
            BatchStatistics(batch_size=size, compute_infer=_timed(executed)) for size, executed in by_size.items()
        ],
    )


def _timed(timed: Timed) -> Duration:
    return _duration(timed.count, timed.seconds)


def _duration(count: int, seconds: float) -> Duration:
    return Duration(count=count, ns=round(seconds * 1e9))

"""The one factory: builds all that the service needs from its settings, and hands it down."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from importlib import metadata
from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import media, openapi, problems
from service.door import Door
from service.metrics import Metrics
from service.predictor import resolve_device
from service.problems import Failed, Fault, MethodNotAllowed, NotFound, Problem, WrongValues
from service.resolve import Resolver
from service.routes import chosen, models, parameters, predictions, probes, v2, v2_models, v2_statistics
from service.settings import Settings
from service.store import Store
from service.v2 import error as v2_error

log = logging.getLogger("calibrant")

_DESCRIPTION = "Readings in, a served model out: predictions, and the network that makes them."
# Tracing is for who installs an SDK; without one it costs 5 us a request and gives nothing.
_NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False}


def create_app(settings: Settings, *, loads_first: bool = False) -> Door:
    """The application; raises ValueError for a device that is not there.

    It listens first, and loads while /livez answers; with `loads_first`, whoever connects waits until it can predict.
    """
    store = Store(settings, resolve_device(settings.device))
    resolver = Resolver(store, settings.default_model)
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if loads_first:
            await _refresh(store)
        following = asyncio.create_task(_follow(store, settings.refresh_seconds))
        yield
        following.cancel()
        store.close()

    app = FastAPIOffline(
        "/docs",
        None,
        title="calibrant",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        responses=openapi.RESPONSES,
        telemetry=_NO_TELEMETRY,
    )
    app.include_router(probes.router(resolver, metrics))
    app.include_router(models.router(store, resolver))
    for prefix in chosen.PREFIXES:
        app.include_router(predictions.router(prefix, resolver, settings, metrics))
        app.include_router(parameters.router(prefix, resolver))
        app.include_router(models.report_router(prefix, resolver))
    app.include_router(v2.server_router(resolver, app.version))
    app.include_router(v2.repository_router(store, resolver, settings))
    app.include_router(v2_statistics.router(store, resolver, metrics))
    for prefix in (chosen.MODEL, chosen.VERSION):
        app.include_router(v2_models.router(prefix, resolver, settings, metrics))
    openapi.install(app, resolver)
    _handle_errors(app, metrics)
    return Door(app, resolver, settings, metrics)


async def _follow(store: Store, seconds: float) -> None:
    while True:
        await _refresh(store)
        await asyncio.sleep(seconds)


async def _refresh(store: Store) -> None:
    try:
        await asyncio.to_thread(store.refresh)
    except Exception:
        log.exception("looking at the artifacts folder failed; what serves goes on serving")


def _handle_errors(app: FastAPI, metrics: Metrics) -> None:
    """Every error becomes a problem, and is counted; the foreign ones are translated here, and only here."""

    def response(request: Request, problem: Problem) -> Response:
        metrics.failed(problem.kind)
        if v2_error.is_below(request.scope["path"]):
            return Response(v2_error.body(problem), v2_error.status(problem), problem.headers, media.JSON)
        return Response(problem.body(), problem.status, problem.headers, problems.MEDIA_TYPE)

    async def own(request: Request, error: Exception) -> Response:
        return response(request, cast("Problem", error))

    async def routing(request: Request, error: Exception) -> Response:
        http = cast("HTTPException", error)
        if http.status_code == 405:
            problem = MethodNotAllowed("this path has other methods", headers=dict(http.headers or {}))
            return response(request, problem)
        return response(request, NotFound("there is nothing at this path; /docs lists what there is"))

    async def query(request: Request, error: Exception) -> Response:
        invalid = cast("RequestValidationError", error).errors()
        faults = [Fault(": ".join(map(str, fault["loc"])), fault["msg"]) for fault in invalid]
        return response(request, WrongValues("a parameter of the request is wrong", faults=faults))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    async def unforeseen(request: Request, __: Exception) -> Response:
        return response(request, Failed("the service failed; its log says why"))

    app.add_exception_handler(Problem, own)
    app.add_exception_handler(HTTPException, routing)
    app.add_exception_handler(RequestValidationError, query)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, unforeseen)


def _version() -> str:
    try:
        return metadata.version("calibrant")
    except metadata.PackageNotFoundError:  # started from a folder, as the image does
        return "0"

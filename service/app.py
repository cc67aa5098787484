"""The one factory: builds all that the service needs from its settings, and hands it down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Lifespan

from service import openapi, request_id
from service.access import HEADER as ACCESS_HEADER
from service.access import Keyring
from service.board import Place
from service.door import IDENTITY_IN_SCOPE, MODEL_IN_SCOPE, PROBES, Door, route_of
from service.following import Following
from service.large_tables import LargeTables
from service.metrics import Metrics
from service.pages import Pages
from service.predict import TIMEOUT_HEADER
from service.predictor import resolve_device
from service.problems import Failed, Fault, MethodNotAllowed, NotFound, Problem, WrongValues
from service.request_log import RequestLog
from service.resolve import Resolver
from service.routes import (
    chosen,
    models,
    page,
    parameters,
    predictions,
    probes,
    v2,
    v2_administration,
    v2_models,
    v2_statistics,
)
from service.scrape import Scrape
from service.settings import Settings
from service.signing import PublicKey
from service.store import Store
from service.v2 import error as v2_error
from service.v2.request import HEADER_LENGTH

if TYPE_CHECKING:
    from service.tracing import Traces

_TURN_SECONDS = 0.02
_DESCRIPTION = "Readings in, a served model out: predictions, and the network that makes them."
# FastAPI's own metrics and logs are not ours, and even without an SDK its tracing costs 5 us a request.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def create_app(
    settings: Settings,
    public_key: PublicKey | None,
    keyring: Keyring,
    place: Place | None = None,
) -> Door:
    """Build the application, for versions signed by the owner of `public_key` and clients with a key of `keyring`.

    The only process loads while /livez answers already. One of several, in its `place`, takes connections when it can
    predict, or has looked for what to predict with. Raises ValueError for a device that is not there.
    """
    device = resolve_device(settings.device)
    store = Store(settings, device, public_key, place.snapshot if place else None)
    resolver = Resolver(store, settings.default_model, place)
    metrics, request_log = Metrics(), RequestLog()
    scrape = Scrape(metrics, store, resolver, (_version(), device.type), place.snapshot if place else None)
    following = Following(store, settings.refresh_seconds)
    traces = _traces() if settings.traces else None
    pages, large_tables = Pages.read(), LargeTables()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(following.run())
        if place:
            await _until_served(place, resolver, following)
        writing = asyncio.create_task(scrape.follow())
        yield
        looking.cancel()
        writing.cancel()
        store.close()
        scrape.close()
        metrics.close()
        large_tables.close()
        if traces:
            traces.close()

    app = _fastapi(lifespan, traces)
    app.include_router(page.router(pages))
    app.include_router(probes.router(resolver, scrape))
    _include_own(app, store, resolver, settings, metrics, large_tables)
    _include_v2(app, store, resolver, settings, metrics, keyring, large_tables)
    openapi.install(app, resolver, keyring.access, PROBES)
    _handle_errors(app, metrics, request_log)
    if settings.cors_origins:
        _let_pages_ask(app, settings.cors_origins.split(","))
    return Door(
        app,
        resolver=resolver,
        settings=settings,
        metrics=metrics,
        request_log=request_log,
        keyring=keyring,
        following=following,
        pages=pages,
        large_tables=large_tables,
    )


def _fastapi(lifespan: Lifespan[FastAPI], traces: "Traces | None") -> FastAPI:
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to an address made from what a client says that the host is called
        title="calibrant",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        responses=openapi.RESPONSES,
        telemetry=traces.telemetry() if traces else _NO_TELEMETRY,
    )
    if traces:
        traces.install(app)
    return app


def _include_own(  # noqa: PLR0913, PLR0917 - what routes are made of
    app: FastAPI, store: Store, resolver: Resolver, settings: Settings, metrics: Metrics, large_tables: LargeTables
) -> None:
    app.include_router(models.router(store, resolver))
    for prefix in chosen.PREFIXES:
        app.include_router(predictions.router(prefix, resolver, settings, metrics, large_tables))
        app.include_router(parameters.router(prefix, resolver))
        app.include_router(models.report_router(prefix, resolver))


def _include_v2(  # noqa: PLR0913, PLR0917 - as above
    app: FastAPI,
    store: Store,
    resolver: Resolver,
    settings: Settings,
    metrics: Metrics,
    keyring: Keyring,
    large_tables: LargeTables,
) -> None:
    """The Open Inference Protocol's routes."""
    app.include_router(v2.server_router(resolver, app.version, administration=bool(keyring.access.admin_keys)))
    app.include_router(v2.repository_router(store, settings))
    app.include_router(v2_administration.router(store, resolver, keyring))
    app.include_router(v2_statistics.router(store, resolver, metrics))
    for prefix in (chosen.MODEL, chosen.VERSION):
        app.include_router(v2_models.router(prefix, resolver, settings, metrics, large_tables))


async def _until_served(place: Place, resolver: Resolver, following: Following) -> None:
    while not (resolver.is_ready() or following.has_looked or resolver.stopping):
        place.turn()
        await asyncio.sleep(_TURN_SECONDS)


def _traces() -> "Traces":
    from service.tracing import Traces  # noqa: PLC0415 - of an extra

    return Traces()


def _let_pages_ask(app: FastAPI, origins: Sequence[str]) -> None:
    """Cross-origin requests (https://fetch.spec.whatwg.org/#http-cors-protocol), with a key but never with cookies."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=[header.decode() for header in (ACCESS_HEADER, request_id.HEADER, TIMEOUT_HEADER, HEADER_LENGTH)],
        expose_headers=["retry-after", "server-timing", request_id.HEADER.decode(), HEADER_LENGTH.decode()],
    )


def _handle_errors(app: FastAPI, metrics: Metrics, request_log: RequestLog) -> None:
    """Every error becomes a problem, and is counted; the foreign ones are translated here, and only here."""

    def response(request: Request, problem: Problem) -> Response:
        metrics.failed(problem.kind)
        if problem.status >= 500:
            scope = request.scope
            request_log.problem(problem, scope[IDENTITY_IN_SCOPE], route_of(scope), scope.get(MODEL_IN_SCOPE, ""))
        status, media_type, content = v2_error.response(problem, request.scope["path"])
        return Response(content, status, problem.headers, media_type)

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

    async def unforeseen(request: Request, error: Exception) -> Response:
        failed = Failed("the service failed; its log says why")
        failed.__cause__ = error
        return response(request, failed)

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

"""The Open Inference Protocol: the server, and what is in its repository.

https://github.com/kserve/open-inference-protocol, and of Triton's model repository extension what only reads.
"""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from service import body, media
from service.body import Body
from service.catalog import State, Version
from service.problems import NotParseable
from service.resolve import Resolver
from service.routes import query
from service.settings import Settings
from service.store import Store

EXTENSIONS = ("binary_tensor_data", "statistics")
# Whole only where administration is on.
ADMINISTRATION = "model_repository"


class ErrorDocument(BaseModel):
    """What is wrong."""

    error: str


_WRONG: dict[str, Any] = {"model": ErrorDocument, "description": "What is wrong"}
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": _WRONG, "5XX": _WRONG}


class Live(BaseModel):
    """The process answers."""

    live: Literal[True] = True


class Ready(BaseModel):
    """The default model serves."""

    ready: Literal[True] = True


class ServerMetadata(BaseModel):
    """The server, its version, and the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: tuple[str, ...]


class IndexRequest(BaseModel):
    """Which versions are wanted: all, or only those that are ready."""

    model_config = ConfigDict(strict=True)

    ready: bool = False


RepositoryState = Literal["READY", "LOADING", "UNAVAILABLE"]
_STATES: dict[State, RepositoryState] = {
    "ready": "READY",
    "loading": "LOADING",
    "failed": "UNAVAILABLE",
    "unloaded": "UNAVAILABLE",
}


class IndexedVersion(BaseModel):
    """A version of a model, its state in Triton's words, and why it is in it where that is not plain."""

    name: str
    version: str
    state: RepositoryState
    reason: str


_INDEX_BODY = {
    "requestBody": {"content": {media.JSON: {"schema": IndexRequest.model_json_schema(), "example": {"ready": True}}}}
}


def routes(*checks: Callable[..., Awaitable[None]]) -> APIRouter:
    """A router for paths below /v2, whose errors are the protocol's; `checks` come before all others."""
    dependencies = [Depends(check) for check in (*checks, query.only())]
    return APIRouter(tags=["open inference protocol"], responses=RESPONSES, dependencies=dependencies)


def server_router(resolver: Resolver, version: str, *, administration: bool) -> APIRouter:
    """GET /v2, /v2/health/live and /v2/health/ready."""
    server = routes()
    extensions = (*EXTENSIONS, ADMINISTRATION) if administration else EXTENSIONS

    @server.get("/v2", summary="The server")
    async def metadata() -> ServerMetadata:
        """Its name, its version, and the protocol's extensions that it has."""
        return ServerMetadata(name="calibrant", version=version, extensions=extensions)

    @server.get("/v2/health/live", summary="Is the process alive")
    async def live() -> Live:
        """As /livez."""
        return Live()

    @server.get("/v2/health/ready", summary="Does the default model serve")
    async def ready() -> Ready:
        """As /readyz."""
        resolver.check_ready()
        return Ready()

    return server


def repository_router(store: Store, settings: Settings) -> APIRouter:
    """POST /v2/repository/index."""
    repository = routes()

    @repository.post("/v2/repository/index", summary="Every version and its state", openapi_extra=_INDEX_BODY)
    async def index(request: Request) -> list[IndexedVersion]:
        """Of all models; with `ready`, only those versions that are."""
        headers = dict(request.headers.raw)
        media.check_not_compressed(headers.get(b"content-encoding"))
        sent: Body = request.scope[body.IN_SCOPE]
        content = await sent.read(perf_counter() + settings.request_timeout_ms / 1000)
        wanted = _index_request(content)
        models = store.catalog.models.values()
        versions = [version for model in models for version in model.versions.values()]
        return [_indexed(version) for version in versions if version.served or not wanted.ready]

    return repository


def _index_request(content: bytes) -> IndexRequest:
    try:
        return IndexRequest.model_validate_json(content or b"{}")
    except ValidationError:
        raise NotParseable('the body is neither empty nor an object such as {"ready": true}') from None


def _indexed(version: Version) -> IndexedVersion:
    return IndexedVersion(
        name=version.model,
        version=str(version.number),
        state=_STATES[version.state],
        reason=version.reason or "",
    )

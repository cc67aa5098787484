"""The Open Inference Protocol: the server, and its repository.

https://github.com/kserve/open-inference-protocol, and of Triton's model repository extension what only reads.
"""

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from service import body, media
from service.problems import NotParseable, NotSupported
from service.resolve import Resolver
from service.routes import query
from service.routes.chosen import ModelName
from service.settings import Settings
from service.store import State, Store, Version

# The model repository's is not among them, as it is there in part only.
EXTENSIONS = ("binary_tensor_data", "statistics")


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
_STATES: dict[State, RepositoryState] = {"ready": "READY", "loading": "LOADING", "failed": "UNAVAILABLE"}


class IndexedVersion(BaseModel):
    """A version of a model, its state in Triton's words, and why it is in it where that is not plain."""

    name: str
    version: str
    state: RepositoryState
    reason: str


_INDEX_BODY = {
    "requestBody": {"content": {media.JSON: {"schema": IndexRequest.model_json_schema(), "example": {"ready": True}}}}
}


def routes() -> APIRouter:
    """A router for paths below /v2, whose errors are the protocol's."""
    return APIRouter(tags=["open inference protocol"], responses=RESPONSES, dependencies=[Depends(query.only())])


def server_router(resolver: Resolver, version: str) -> APIRouter:
    """GET /v2, /v2/health/live and /v2/health/ready."""
    server = routes()

    @server.get("/v2", summary="The server")
    async def metadata() -> ServerMetadata:
        """Its name, its version, and the protocol's extensions that it has."""
        return ServerMetadata(name="calibrant", version=version, extensions=EXTENSIONS)

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


def repository_router(store: Store, resolver: Resolver, settings: Settings) -> APIRouter:
    """POST /v2/repository/index; to load and to unload is refused."""
    repository = routes()

    @repository.post("/v2/repository/index", summary="Every version and its state", openapi_extra=_INDEX_BODY)
    async def index(request: Request) -> list[IndexedVersion]:
        """Of all models; with `ready`, only those versions that are."""
        headers = dict(request.headers.raw)
        media.check_not_compressed(headers.get(b"content-encoding"))
        content = await body.read(request.receive, headers.get(b"content-length"), settings.max_body_bytes)
        wanted = _index_request(content)
        models = store.catalog.models.values()
        versions = [version for model in models for version in model.versions.values()]
        return [_indexed(version) for version in versions if version.served or not wanted.ready]

    @repository.post("/v2/repository/models/{model}/load", include_in_schema=False)
    async def load(model: ModelName) -> None:
        """Administration is off: a version is loaded when it is published into the artifacts folder."""
        raise _not_administered(resolver, model)

    @repository.post("/v2/repository/models/{model}/unload", include_in_schema=False)
    async def unload(model: ModelName) -> None:
        """Administration is off: a version is forgotten when it is removed from the artifacts folder."""
        raise _not_administered(resolver, model)

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


def _not_administered(resolver: Resolver, model: str) -> NotSupported:
    resolver.model(model)
    return NotSupported("administration is off: versions load and unload as they come and go in the artifacts folder")

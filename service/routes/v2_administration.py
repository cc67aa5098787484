"""Triton's model repository extension, as far as it changes something: for administrators, and off without their keys.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import asyncio
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from service import body, media
from service.access import Keyring
from service.body import Body
from service.problems import NotParseable, NotSupported, Unauthorized
from service.resolve import Resolver
from service.routes.chosen import ModelName
from service.routes.v2 import routes
from service.store import Store

LOAD = "/v2/repository/models/{model}/load"
UNLOAD = "/v2/repository/models/{model}/unload"
# Enough for parameters; files, which would be more, are never taken.
_MAX_BYTES = 64 * 2**10
# How long the body may wait for room beside other requests' bodies.
_READ_SECONDS = 10.0
# Which parameters change nothing here: no model depends on another.
_UNLOAD_PARAMETERS = {"unload_dependents"}


class RepositoryRequest(BaseModel):
    """What Triton's clients may send along."""

    model_config = ConfigDict(strict=True)

    parameters: dict[str, Any] = {}


_BODY = {"requestBody": {"content": {media.JSON: {"schema": RepositoryRequest.model_json_schema(), "example": {}}}}}


def router(store: Store, resolver: Resolver, keyring: Keyring) -> APIRouter:
    """POST /v2/repository/models/{model}/load and unload; in the API's document where administration is on."""
    administration = bool(keyring.access.admin_keys)  # the same for as long as the process runs

    async def administrator(request: Request, model: ModelName) -> None:
        if not administration:
            resolver.model(model)
            raise NotSupported(
                "administration is off: versions load and unload as they come and go in the artifacts folder"
            )
        if not keyring.access.lets_administer(request.headers.raw):
            raise Unauthorized

    repository = routes(administrator)
    options: dict[str, Any] = {"response_class": Response, "include_in_schema": administration, "openapi_extra": _BODY}

    @repository.post(LOAD, summary="Load a model", **options)
    async def load(model: ModelName, request: Request) -> Response:
        """Look at the artifacts folder now, try again what failed, and take the model back into service."""
        await _check(request, set())
        await asyncio.to_thread(store.load, model)
        resolver.served(model)
        return Response()

    @repository.post(UNLOAD, summary="Unload a model", **options)
    async def unload(model: ModelName, request: Request) -> Response:
        """Take it out of service until it is loaded or the process starts anew; what it has begun is answered."""
        await _check(request, _UNLOAD_PARAMETERS)
        resolver.model(model)
        await asyncio.to_thread(store.unload, model)
        return Response()

    return repository


async def _check(request: Request, known: set[str]) -> None:
    """Read the body; raises Problem where it asks for what is not there, such as files or a configuration."""
    headers = dict(request.headers.raw)
    media.check_not_compressed(headers.get(b"content-encoding"))
    sent_body: Body = request.scope[body.IN_SCOPE]
    content = await sent_body.read(perf_counter() + _READ_SECONDS, _MAX_BYTES)
    try:
        sent = RepositoryRequest.model_validate_json(content or b"{}")
    except ValidationError:
        raise NotParseable('the body is neither empty nor an object such as {"parameters": {}}') from None
    if sent.parameters.keys() - known:
        raise NotSupported("a model is what the artifacts folder has: no parameter, configuration or file changes it")

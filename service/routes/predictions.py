"""A table of readings in: predictions, or the output of every layer, out."""

import asyncio
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from service import body, media
from service.engine import Rows
from service.predict import predict
from service.problems import TooLarge
from service.resolve import Resolver
from service.routes import query
from service.routes.chosen import served_at
from service.settings import Settings
from service.store import Served

TABLE = {
    "type": "object",
    "description": "One array of numbers for each feature, all of one length.",
    "additionalProperties": {"type": "array", "items": {"type": "number"}},
}
_REQUEST = {"requestBody": {"required": True, "content": {media.JSON: {"schema": TABLE}}}}


class Predictions(BaseModel):
    """Predictions by target, in the order of the rows; `out_of_range` are the rows outside what training saw."""

    model: str
    version: str
    predictions: dict[str, list[float]]
    out_of_range: list[int]


class Activations(BaseModel):
    """The output ``[rows, width]`` of every layer, by its name, in order."""

    model: str
    version: str
    activations: dict[str, list[list[float]]]


def router(prefix: str, resolver: Resolver, settings: Settings) -> APIRouter:
    """POST /predict and /activations for the version that the prefix names."""
    routes = APIRouter(tags=["predictions"], dependencies=[Depends(query.only())])
    Chosen = Annotated[Served, Depends(served_at(prefix, resolver))]  # noqa: N806 - it is a type

    async def json_body(request: Request) -> bytes:
        headers = request.headers
        media.check_json(headers.get("content-type"), headers.get("content-encoding"))
        media.negotiate(headers.get("accept"), [media.JSON])
        return await body.read(request.receive, headers.get("content-length"), settings.max_body_bytes)

    @routes.post("/predict", summary="Predict", openapi_extra=_REQUEST, response_model=Predictions)
    async def predictions(served: Chosen, request: Request) -> Response:
        """One array for each feature in; one for each target out, and the rows that lie outside the training range."""
        content = await json_body(request)
        answer = await predict(served, content, settings.request_timeout_ms / 1000)
        return Response(answer.body, headers={"server-timing": answer.server_timing()}, media_type=answer.media_type)

    @routes.post(
        "/activations", summary="The output of every layer", openapi_extra=_REQUEST, response_model=Activations
    )
    async def activations(served: Chosen, request: Request) -> Response:
        """The same table in; for each layer of the network, by name and in order, its output for every row out."""
        rows = served.columns.from_json(await json_body(request))
        if rows.size and len(rows) * served.predictor.width > settings.max_rows:
            raise TooLarge(
                f"{len(rows)} rows of {served.predictor.width} outputs are more than {settings.max_rows} values"
            )
        return Response(await asyncio.to_thread(_activations_json, served, rows), media_type=media.JSON)

    return routes


def _activations_json(served: Served, rows: Rows) -> bytes:
    document = {
        "model": served.model,
        "version": str(served.number),
        "activations": served.predictor.activations(rows),
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

"""A table of readings in: predictions, or the output of every layer, out."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from service import media
from service.metrics import Metrics
from service.predict import predict, read_rows
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


def router(prefix: str, resolver: Resolver, settings: Settings, metrics: Metrics) -> APIRouter:
    """POST /predict and /activations for the version that the prefix names."""
    routes = APIRouter(tags=["predictions"], dependencies=[Depends(query.only())])
    Chosen = Annotated[Served, Depends(served_at(prefix, resolver))]  # noqa: N806 - it is a type

    @routes.post("/predict", summary="Predict", openapi_extra=_REQUEST, response_model=Predictions)
    async def predictions(served: Chosen, request: Request) -> Response:
        """One array for each feature in; one for each target out, and the rows that lie outside the training range."""
        answer = await predict(served, dict(request.headers.raw), request.receive, settings)
        metrics.predicted(served.model, served.number, answer.entry, answer.out_of_range)
        headers = {"server-timing": answer.server_timing().decode()}
        return Response(answer.body, headers=headers, media_type=media.JSON)

    @routes.post("/activations", summary="Every layer's output", openapi_extra=_REQUEST, response_model=Activations)
    async def activations(served: Chosen, request: Request) -> Response:
        """The same table in; for each layer of the network, by name and in order, its output for every row out."""
        rows = await read_rows(served, dict(request.headers.raw), request.receive, settings.max_body_bytes)
        width = served.predictor.width
        if len(rows) * width > settings.max_rows:
            raise TooLarge(f"{len(rows)} rows of {width} values each are more than the {settings.max_rows} allowed")

        def content() -> bytes:
            return served.json({"activations": served.predictor.activations(rows)})

        return Response(await asyncio.to_thread(content), media_type=media.JSON)

    return routes

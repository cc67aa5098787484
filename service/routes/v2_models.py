"""The Open Inference Protocol: a model's metadata, its readiness, and inference."""

from functools import partial
from time import perf_counter
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from service import body, media
from service.body import Body
from service.door import ENTRY_IN_SCOPE
from service.large_tables import LargeTables
from service.metrics import Metrics
from service.predict import TIMEOUT_HEADER, Answer, read_with_room, settled, timeout_seconds
from service.resolve import Resolver
from service.routes.chosen import served_at
from service.routes.v2 import routes
from service.served import Served
from service.settings import Settings
from service.tables.json import SMALL_BODY_BYTES
from service.v2.error import PREFIX
from service.v2.request import HEADER_LENGTH, read
from service.v2.response import write
from service.v2.signature import BOUNDS, OUT_OF_RANGE, PREDICTIONS, READINGS, Signature

# What takes longer than about a millisecond to write leaves the event loop.
_LARGE_ROWS = 8192
_INTERVAL = "/parameters/interval"


class ModelReady(BaseModel):
    """The model serves."""

    name: str
    ready: Literal[True] = True


class TensorMetadata(BaseModel):
    """A tensor; -1 in its shape stands for any number of rows."""

    name: str
    datatype: Literal["FP32", "BOOL"]
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model, its versions that are ready, and the tensors of the one that answers."""

    name: str
    versions: list[str]
    platform: Literal["pytorch_torchscript"]
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(TensorMetadata):
    """An output, its values in `data` or, with `binary_data_size` in its parameters, behind the JSON."""

    data: list[float | bool] | None = None
    parameters: dict[Literal["binary_data_size"], int] | None = None


class IntervalParameters(BaseModel):
    """The coverage that was asked for, and what of it is guaranteed."""

    coverage: float
    guaranteed: float


class InferenceResponse(BaseModel):
    """The outputs that were asked for, and what gave them; with an interval, its level."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: IntervalParameters | None = None
    outputs: list[OutputTensor]


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {media.JSON: {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}, media.BYTES: _BINARY},
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": {media.BYTES: _BINARY}}}


def router(
    prefix: str, resolver: Resolver, settings: Settings, metrics: Metrics, large_tables: LargeTables
) -> APIRouter:
    """The protocol's paths below the version that the prefix names."""
    models = routes()
    path = PREFIX + prefix
    Chosen = Annotated[Served, Depends(served_at(prefix, resolver))]  # noqa: N806 - it is a type

    @models.get(path, summary="A model's tensors")
    async def metadata(served: Chosen) -> ModelMetadata:
        """One input of all features, and the outputs; bounds come with the request's parameter `interval`."""
        versions = resolver.model(served.model).versions.values()
        ready = [str(version.number) for version in versions if version.served]
        return _metadata(served.model, ready, _signature(served, settings))

    @models.get(path + "/ready", summary="Does a model serve")
    async def ready(served: Chosen) -> ModelReady:
        """200 when it does, else 503 with the reason."""
        return ModelReady(name=served.model)

    @models.post(
        path + "/infer",
        summary="Infer",
        openapi_extra=_REQUEST,
        response_model=InferenceResponse,
        responses=_RESPONSES,
    )
    async def infer(served: Chosen, request: Request) -> Response:
        """Tensors in, as JSON or as bytes behind it; tensors out, each in the form that is asked for."""
        started = perf_counter()
        headers = dict(request.headers.raw)
        timeout = timeout_seconds(headers.get(TIMEOUT_HEADER), settings)
        media.check_not_compressed(headers.get(b"content-encoding"))
        sent: Body = request.scope[body.IN_SCOPE]
        content = await read_with_room(served, None, sent, started + timeout)
        signature = _signature(served, settings)
        async with large_tables.turn(sent, len(content), started + timeout):
            reading = partial(read, content, headers.get(HEADER_LENGTH), signature)
            inference = await large_tables.run(reading, large=len(content) > SMALL_BODY_BYTES)
            deadline = started + min(timeout, inference.timeout_seconds or timeout)
            level = served.level(inference.interval, _INTERVAL)
            entry = await settled(served, level, inference.rows, deadline, request.receive)
            request.scope[ENTRY_IN_SCOPE] = entry
            outputs = entry.own_outputs()
            answering = partial(write, inference, signature, served.model, str(served.number), level, outputs)
            written = await large_tables.run(answering, large=len(outputs) > _LARGE_ROWS)
        answer = Answer(served.subject, written.body, int(np.count_nonzero(outputs.out_of_range)), entry)
        metrics.predicted(served.subject, entry, answer.out_of_range)
        return _response(answer, written.header_length)

    return models


def _metadata(model: str, versions: list[str], signature: Signature) -> ModelMetadata:
    bounds = BOUNDS if signature.has_intervals else ()
    return ModelMetadata(
        name=model,
        versions=versions,
        platform="pytorch_torchscript",
        inputs=[TensorMetadata(name=READINGS, datatype="FP32", shape=[-1, len(signature.features)])],
        outputs=[
            TensorMetadata(name=PREDICTIONS, datatype="FP32", shape=[-1, len(signature.targets)]),
            TensorMetadata(name=OUT_OF_RANGE, datatype="BOOL", shape=[-1]),
            *(TensorMetadata(name=bound, datatype="FP32", shape=[-1, len(signature.targets)]) for bound in bounds),
        ],
    )


def _signature(served: Served, settings: Settings) -> Signature:
    targets = tuple(target.name for target in served.predictor.manifest.targets)
    has_intervals = served.predictor.manifest.interval is not None
    return Signature(served.columns.names, targets, settings.max_rows, has_intervals)


def _response(answer: Answer, header_length: int | None) -> Response:
    headers = {"server-timing": answer.server_timing().decode()}
    if header_length is None:
        return Response(answer.body, headers=headers, media_type=media.JSON)
    headers[HEADER_LENGTH.decode()] = str(header_length)
    return Response(answer.body, headers=headers, media_type=media.BYTES)

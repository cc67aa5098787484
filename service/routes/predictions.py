"""A table of readings in: predictions, or the output of every layer, out. In any form, and with any option."""

from functools import partial
from time import perf_counter
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from orjson import Fragment
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from service import body, exchange, media
from service.body import Body
from service.door import ENTRY_IN_SCOPE
from service.entry import Entry
from service.exchange import Exchange
from service.intervals import Level
from service.large_tables import FEW_VALUES, LargeTables
from service.metrics import Metrics
from service.outputs import write_json
from service.predict import TIMEOUT_HEADER, Answer, answer, read_with_room, settled, timeout_seconds
from service.problems import TooLarge
from service.resolve import Resolver
from service.routes import query
from service.routes.chosen import served_at
from service.served import Served
from service.settings import Settings
from service.tables.table import Table, activation_columns, prediction_columns

TABLE = {
    "type": "object",
    "description": "One array of numbers for each feature, all of one length.",
    "additionalProperties": {"type": "array", "items": {"type": "number"}},
}
_CSV: dict[str, Any] = {
    "schema": {"type": "string", "description": "A line of column names, then a line for each row."}
}
_ARROW: dict[str, Any] = {
    "schema": {"type": "string", "format": "binary", "description": "An Arrow IPC stream; needs the extra `arrow`."}
}
_OTHERS = {media.CSV: _CSV, media.ARROW: _ARROW}
_FORMS: dict[str, Any] = {
    "openapi_extra": {"requestBody": {"required": True, "content": {media.JSON: {"schema": TABLE}, **_OTHERS}}},
    "responses": {200: {"description": "As JSON; else the table, with columns behind its own", "content": _OTHERS}},
}
_SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
Coverage: TypeAlias = Annotated[
    str | None,
    WithJsonSchema(_SHARE),
    Query(description="give bounds that hold this share of the true values, such as 0.9"),
]
_CONTENT_TYPES = {media.JSON: media.JSON, media.CSV: f"{media.CSV}; charset=utf-8", media.ARROW: media.ARROW}


class Bounds(BaseModel):
    """The bounds of one target, in the order of the rows."""

    lower: list[float]
    upper: list[float]


class Interval(BaseModel):
    """The share of true values that the bounds are to hold, the share that is guaranteed, and by target the bounds."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Bounds] = Field(init=False)

    coverage: float
    guaranteed: float


class Predictions(BaseModel):
    """Predictions by target, in the order of the rows; `out_of_range` are the rows outside what training saw.

    There is an `interval` where one was asked for.
    """

    model: str
    version: str
    predictions: dict[str, list[float]]
    interval: Interval | SkipJsonSchema[None] = None
    out_of_range: list[int]


class Activations(BaseModel):
    """The output ``[rows, width]`` of every layer, by its name, in order."""

    model: str
    version: str
    activations: dict[str, list[list[float]]]


def router(
    prefix: str, resolver: Resolver, settings: Settings, metrics: Metrics, large_tables: LargeTables
) -> APIRouter:
    """POST /predict and /activations for the version that the prefix names."""
    routes = APIRouter(prefix=prefix, tags=["predictions"])
    Chosen = Annotated[Served, Depends(served_at(prefix, resolver))]  # noqa: N806 - it is a type

    only_interval, no_query = [Depends(query.only("interval"))], [Depends(query.only())]

    @routes.post("/predict", summary="Predict", response_model=Predictions, dependencies=only_interval, **_FORMS)
    async def predictions(served: Chosen, request: Request, interval: Coverage = None) -> Response:
        """A table with the features in; predictions, and the rows that lie outside the training range, out.

        With `interval`, bounds too, where the version has intervals.
        """
        headers = dict(request.headers.raw)
        deadline = perf_counter() + timeout_seconds(headers.get(TIMEOUT_HEADER), settings)
        level = served.level(interval)
        forms = await exchange.agree(headers)
        sent: Body = request.scope[body.IN_SCOPE]
        content = await read_with_room(served, level, sent, deadline)
        async with large_tables.turn(sent, len(content), deadline):
            table = await large_tables.run(partial(forms.read, served, content), large=forms.is_large(content))
            entry = await settled(served, level, table.rows, deadline, request.receive, table.places)
            request.scope[ENTRY_IN_SCOPE] = entry
            writing = partial(_answer, served, level, forms, table, entry)
            written = await large_tables.run(writing, large=table.values > FEW_VALUES)
        metrics.predicted(served.subject, entry, written.out_of_range)
        timing = {"server-timing": written.server_timing().decode()}
        return Response(written.body, headers=timing, media_type=_CONTENT_TYPES[forms.wanted])

    @routes.post(
        "/activations", summary="Every layer's output", response_model=Activations, dependencies=no_query, **_FORMS
    )
    async def activations(served: Chosen, request: Request) -> Response:
        """The same table in; for each layer of the network, by name and in order, its output for every row out."""
        headers = dict(request.headers.raw)
        deadline = perf_counter() + timeout_seconds(headers.get(TIMEOUT_HEADER), settings)
        forms = await exchange.agree(headers)
        sent: Body = request.scope[body.IN_SCOPE]
        content = await sent.read(deadline)
        async with large_tables.turn(sent, len(content), deadline):
            table = await large_tables.run(partial(forms.read, served, content), large=forms.is_large(content))
            width = served.predictor.width
            if len(table) * width > settings.max_rows:
                detail = f"{len(table)} rows of {width} values each are more than the {settings.max_rows} allowed"
                raise TooLarge(detail)
            written = await large_tables.run(partial(_activations, served, forms, table), large=True)
        return Response(written, media_type=_CONTENT_TYPES[forms.wanted])

    return routes


def _answer(served: Served, level: Level | None, forms: Exchange, table: Table, entry: Entry) -> Answer:
    if forms.wanted == media.JSON:
        return answer(served, level, entry)
    own = entry.own_outputs()
    targets = [target.name for target in served.predictor.manifest.targets]
    added = prediction_columns(table, targets, own)
    return Answer(served.subject, forms.write(table, added), int(own.out_of_range.sum()), entry)


def _activations(served: Served, forms: Exchange, table: Table) -> bytes:
    outputs = served.predictor.activations(table.rows)
    if forms.wanted == media.JSON:
        return served.json({"activations": {name: Fragment(write_json(values)) for name, values in outputs.items()}})
    return forms.write(table, activation_columns(table, outputs))

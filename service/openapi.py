"""The OpenAPI document: the problems that any route can answer with, and examples from today's default model."""

import copy
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service import media, problems
from service.access import Access
from service.artifact import Column
from service.problems import Problem
from service.resolve import Resolver
from service.served import Served
from service.v2.documents import InferenceRequest
from service.v2.signature import READINGS

Document: TypeAlias = dict[str, Any]

_TABLE_PATHS = ("/predict", "/activations")
_TENSOR_PATHS = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")


class FaultDocument(BaseModel):
    """One bad value and why; `pointer` is an RFC 6901 pointer into the body, or names a place of a table, such as
    `line 3, column fahrenheit`, a header, or a query parameter.
    """

    pointer: str
    detail: str


class ProblemDocument(BaseModel):
    """An RFC 9457 problem; nothing that a client sends gets a 500."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FaultDocument] | None = None


_PROBLEM = {
    "description": "What is wrong, and where",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}
RESPONSES: dict[int | str, Document] = {"4XX": _PROBLEM, "5XX": _PROBLEM}


def install(app: FastAPI, resolver: Resolver, access: Access, open_paths: Collection[str]) -> None:
    """Make `app` answer with this document; where keys are wanted, `open_paths` want none."""
    cached: list[Document] = []

    def openapi() -> Document:
        if not cached:
            cached.append(_whole(app))
            _secure(cached[0], access, open_paths)
        try:
            return _with_examples(cached[0], resolver.served())
        except Problem:
            return cached[0]

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _whole(app: FastAPI) -> Document:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document["components"]["schemas"]
    for model in (ProblemDocument, InferenceRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs")
        schemas[model.__name__] = schema
    return document


def _secure(document: Document, access: Access, open_paths: Collection[str]) -> None:
    """Say which operations want a key."""
    if not (access.api_keys or access.admin_keys):
        return
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        administered = path.startswith("/v2/repository/models/")
        if administered or (access.api_keys and path not in open_paths):
            for operation in operations.values():
                operation["security"] = [{"key": []}]


def _with_examples(document: Document, served: Served) -> Document:
    """The same, where the default model's paths ask for its very columns."""
    features = served.predictor.manifest.features
    column = {"type": "array", "items": {"type": "number"}}
    table = {
        "type": "object",
        "properties": {
            feature.name: {**column, "description": f"in {feature.unit}" if feature.unit else ""}
            for feature in features
        },
        "required": [feature.name for feature in features],
        "additionalProperties": False,
        "example": {feature.name: [feature.minimum, feature.maximum] for feature in features},
    }
    document = copy.deepcopy(document)
    for path in _TABLE_PATHS:
        document["paths"][path]["post"]["requestBody"]["content"][media.JSON]["schema"] = table
    for path in _TENSOR_PATHS:
        document["paths"][path]["post"]["requestBody"]["content"][media.JSON]["example"] = _tensors(features)
    return document


def _tensors(features: Sequence[Column]) -> Document:
    """Two rows, as the Open Inference Protocol has them."""
    data = [[feature.minimum for feature in features], [feature.maximum for feature in features]]
    return {"inputs": [{"name": READINGS, "shape": [2, len(features)], "datatype": "FP32", "data": data}]}

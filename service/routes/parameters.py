"""The point network's parameters and their gradients at the end of training, as JSON or as a safetensors file."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.numpy import save

from service import media
from service.artifact import NETWORK, REPORT
from service.problems import NotFound
from service.resolve import Resolver
from service.routes import query
from service.routes.chosen import served_at
from service.served import Served

Values: TypeAlias = Annotated[bool, Query(description="false leaves values and gradients out of the JSON")]
ParameterName: TypeAlias = Annotated[str, Path(description="a parameter's name", examples=["hidden_linear.weight"])]

_FORMS = (media.JSON, media.SAFETENSORS)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {media.SAFETENSORS: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "the client has it already"},
}


class Statistics(BaseModel):
    """Of the values: `std` is the population's, `norm` the Euclidean one."""

    min: float
    max: float
    mean: float
    std: float
    norm: float


class ParameterDetail(BaseModel):
    """One parameter; `values` and `gradient` are nested as `shape` says, and absent with ``?values=false``."""

    name: str
    shape: list[int]
    dtype: str
    statistics: Statistics
    values: list[Any] | None = None
    gradient: list[Any] | None = None


class NamedParameter(ParameterDetail):
    """One parameter, and whose it is."""

    model: str
    version: str


class ParameterList(BaseModel):
    """Every parameter of the point network; `count` is the number of values in all of them."""

    model: str
    version: str
    count: int
    parameters: list[ParameterDetail]


def router(prefix: str, resolver: Resolver) -> APIRouter:
    """GET /parameters and /parameters/{name} for the version that the prefix names."""
    routes = APIRouter(prefix=prefix, tags=["parameters"], dependencies=[Depends(query.only("values"))])
    Chosen = Annotated[Served, Depends(served_at(prefix, resolver))]  # noqa: N806 - a type

    @routes.get("/parameters", summary="All parameters", response_model=ParameterList, responses=_RESPONSES)
    async def parameters(served: Chosen, request: Request, *, values: Values = True) -> Response:
        """Values, statistics, and the training loss's gradient at the end of training; as safetensors, the values."""
        tensors = served.predictor.parameters
        form = _form(request, served, values=values)
        if form.unchanged:
            return form.respond(b"")
        if form.media_type == media.SAFETENSORS:
            return form.respond(save(dict(tensors)))
        details = [_detail(served, name, values=values) for name in tensors]
        count = sum(value.size for value in tensors.values())
        return form.respond(served.json({"count": count, "parameters": details}))

    @routes.get("/parameters/{name}", summary="One parameter", response_model=NamedParameter, responses=_RESPONSES)
    async def parameter(served: Chosen, request: Request, name: ParameterName, *, values: Values = True) -> Response:
        """The same for one parameter."""
        tensors = served.predictor.parameters
        if name not in tensors:
            raise NotFound(f"there is no parameter of that name; there are: {', '.join(tensors)}")
        form = _form(request, served, values=values)
        if form.unchanged:
            return form.respond(b"")
        if form.media_type == media.SAFETENSORS:
            return form.respond(save({name: tensors[name]}))
        return form.respond(served.json(_detail(served, name, values=values)))

    return routes


@dataclass(frozen=True, slots=True)
class _Form:
    """How a request wants its answer: the media type, its entity tag, and whether the client has it already."""

    media_type: str
    tag: str
    unchanged: bool

    def respond(self, content: bytes) -> Response:
        headers = {"etag": self.tag, "vary": "accept", "cache-control": "no-cache"}
        if self.unchanged:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=self.media_type, headers=headers)


def _form(request: Request, served: Served, *, values: bool) -> _Form:
    """A version is immutable: its files' digests, the path and the form make the tag (RFC 9110, section 8.8.3)."""
    media_type = media.negotiate(dict(request.headers.raw).get(b"accept"), _FORMS)
    files = served.predictor.manifest.files
    source = f"{files[NETWORK].sha256} {files[REPORT].sha256} {request.url.path} {served.number} {media_type} {values}"
    tag = f'"{hashlib.sha256(source.encode()).hexdigest()[:32]}"'
    sent = [candidate.strip().removeprefix("W/") for candidate in request.headers.get("if-none-match", "").split(",")]
    return _Form(media_type, tag, unchanged=tag in sent or "*" in sent)


def _detail(served: Served, name: str, *, values: bool) -> dict[str, object]:
    value = served.predictor.parameters[name]
    detail: dict[str, object] = {"name": name, "shape": value.shape, "dtype": str(value.dtype)}
    if values:
        detail |= {"values": value, "gradient": served.predictor.gradients[name]}
    return detail | {"statistics": _statistics(value.astype(np.float64))}


def _statistics(value: NDArray[np.float64]) -> dict[str, float]:
    return {
        "min": float(value.min()),
        "max": float(value.max()),
        "mean": float(value.mean()),
        "std": float(value.std()),
        "norm": float(np.linalg.norm(value)),
    }

"""The three ways in which a path names a version, as FastAPI dependencies.

They are coroutines, as FastAPI runs plain functions in threads.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from fastapi import Path, Request

from service.door import MODEL_IN_SCOPE
from service.resolve import Resolver
from service.served import Served

DEFAULT = ""
MODEL = "/models/{model}"
VERSION = "/models/{model}/versions/{version}"
PREFIXES = (DEFAULT, MODEL, VERSION)

ModelName: TypeAlias = Annotated[str, Path(description="a model's name", examples=["thermometer"])]
VersionReference: TypeAlias = Annotated[
    str, Path(description="a version's number, or a label", examples=["1", "champion"])
]


def served_at(prefix: str, resolver: Resolver) -> Callable[..., Awaitable[Served]]:
    """The dependency that finds the ready version that a path with this prefix names, and notes it for the metrics."""

    async def of_default(request: Request) -> Served:
        return of(request)

    async def of_model(request: Request, model: ModelName) -> Served:
        return of(request, model)

    async def of_version(request: Request, model: ModelName, version: VersionReference) -> Served:
        return of(request, model, version)

    def of(request: Request, model: str | None = None, version: str | None = None) -> Served:
        served = resolver.served(model, version)
        request.scope[MODEL_IN_SCOPE] = served.model
        return served

    found: dict[str, Callable[..., Awaitable[Served]]] = {DEFAULT: of_default, MODEL: of_model, VERSION: of_version}
    return found[prefix]

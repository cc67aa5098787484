"""Is the process alive, has it a model to answer with, and what has it done."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from service.exposition import MEDIA_TYPE
from service.resolve import Resolver
from service.scrape import Scrape

_EXPOSITION: dict[int | str, dict[str, object]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


class Status(BaseModel):
    """A probe's good answer."""

    status: Literal["alive", "ready"]


def router(resolver: Resolver, scrape: Scrape) -> APIRouter:
    """GET /livez, /readyz and /metrics."""
    routes = APIRouter(tags=["probes"])

    @routes.get("/livez", summary="Is the process alive")
    async def livez() -> Status:
        """200 as long as the process answers at all."""
        return Status(status="alive")

    @routes.get("/readyz", summary="Does the default model serve")
    async def readyz() -> Status:
        """200 when it does; 503 with the reason until then."""
        resolver.check_ready()
        return Status(status="ready")

    @routes.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses=_EXPOSITION)
    async def exposition() -> Response:
        """In Prometheus's text format, over all workers."""
        return Response(await scrape.text(), media_type=MEDIA_TYPE)

    return routes

"""Is the process alive, and does it have a model to answer with."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from service.resolve import Resolver


class Status(BaseModel):
    """A probe's good answer."""

    status: Literal["alive", "ready"]


def router(resolver: Resolver) -> APIRouter:
    """GET /livez and /readyz."""
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

    return routes

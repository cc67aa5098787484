"""The page, the API's documentation, and their files."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from service.pages import File, Pages


def router(pages: Pages) -> APIRouter:
    """GET each of them; none is part of the API that the document describes."""
    routes = APIRouter(include_in_schema=False)
    for path, file in pages.files.items():
        routes.add_api_route(path, _answering(pages, file))
    return routes


def _answering(pages: Pages, file: File) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(file.content, media_type=file.media_type, headers=dict(pages.headers))

    return answer

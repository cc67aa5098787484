"""Reads a request's body from ASGI, no further than a limit."""

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.problems import TooLarge


async def read(receive: Receive, content_length: bytes | None, limit: int) -> bytes:
    """The whole body; raises TooLarge as soon as more is declared or has come, and ClientDisconnect."""
    if content_length and content_length.isdigit() and int(content_length[:20]) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")

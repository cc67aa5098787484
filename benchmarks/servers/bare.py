"""The yardstick: the least that an ASGI application under uvicorn can do with a request.

It reads the whole body, then answers it back (``/echo``) or answers so many constant bytes (``/constant/<bytes>``).
No routing, no parsing, no network: what is faster than this no longer goes through ASGI.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

_CONSTANTS: dict[str, bytes] = {}


async def app(scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
    """Answer any request with 200."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body = body + message["body"] if body else message["body"]
        more = message["more_body"]
    answer = body if scope["path"] == "/echo" else _constant(scope["path"])
    length = str(len(answer)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": answer, "more_body": False})


def _constant(path: str) -> bytes:
    if path not in _CONSTANTS:
        _CONSTANTS[path] = b"0" * int(path.rpartition("/")[2])
    return _CONSTANTS[path]

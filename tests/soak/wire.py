"""HTTP as bytes on a connection, from asyncio: for load that has to see everything that happens to it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Self

LIMIT_SECONDS = 60
_BUFFER = 2**26


class Lost(Exception):
    """A request was sent, and its answer did not come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and how long it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """Its document."""
        return json.loads(self.body)


def request(body: bytes | None, path: str, headers: str = "") -> bytes:
    """A POST of JSON, or a GET without a body; `headers` are lines with their ends."""
    if body is None:
        return f"GET {path} HTTP/1.1\r\nhost: soak\r\n{headers}\r\n".encode()
    head = f"POST {path} HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}{headers}\r\n".encode() + body


def table(values: Sequence[float]) -> bytes:
    """A request's body."""
    return json.dumps({"fahrenheit": list(values)}).encode()


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A request's or a response's head, with its empty line, and its body, which has a content-length if any."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head, await reader.readexactly(length) if length else b""


def parsed(head: bytes) -> tuple[int, dict[str, str]]:
    """A response's status and headers."""
    start, *lines = head.decode("latin-1").strip().split("\r\n")
    return int(start.split()[1]), {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def address(url: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


class Line:
    """One connection, kept alive while the service keeps it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.open = True

    @classmethod
    async def opened(cls, url: str) -> Self:
        """Raises OSError where nobody listens."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return cls(*await asyncio.open_connection(*address(url), limit=_BUFFER))

    async def ask(self, body: bytes | None = None, path: str = "/predict", headers: str = "") -> Answer:
        """Raises Lost."""
        started = perf_counter()
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                self.writer.write(request(body, path, headers))
                head, content = await read_message(self.reader)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise Lost(f"{path}: {type(error).__name__} after {perf_counter() - started:.1f} s") from error
        status, named = parsed(head)
        if named.get("connection") == "close":
            self.close()
        return Answer(status, named, content, perf_counter() - started)

    def close(self) -> None:
        """Hang up."""
        self.open = False
        self.writer.close()


async def ask(url: str, body: bytes | None = None, path: str = "/predict", headers: str = "") -> Answer:
    """One request on a connection of its own; raises Lost, or OSError."""
    line = await Line.opened(url)
    try:
        return await line.ask(body, path, headers)
    finally:
        line.close()

"""Bytes on a connection of the test's own, and the answers that come back."""

import contextlib
import itertools
import socket
from collections.abc import Sequence
from dataclasses import dataclass

GOOD = b'{"fahrenheit":[50.0,68.0,212.0]}'
PLAIN = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, interim ones too."""

    status: int
    headers: dict[str, str]
    body: bytes


def post(body: bytes = GOOD, *headers: str, start: str = "POST /predict HTTP/1.1", host: str = "x") -> bytes:
    """Return a prediction's request as bytes, with a Content-Length."""
    lines = [start, f"host: {host}", "content-type: application/json", *headers, f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes = GOOD, *headers: str, size: int = 7) -> bytes:
    """Return the same request with its body in chunks."""
    lines = [PLAIN[:-2].decode(), *headers, "transfer-encoding: chunked", "", ""]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return "\r\n".join(lines).encode() + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def split(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Return the data cut at these places."""
    return [data[start:stop] for start, stop in itertools.pairwise([0, *sorted(places), len(data)])]


def connected(url: str) -> socket.socket:
    """Open a connection on which each write is a segment."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def until_closed(connection: socket.socket) -> bytes:
    """Read whatever comes until the service closes."""
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            got += data
    return bytes(got)


def answers(data: bytes) -> list[Answer]:
    """Return the answers to requests that are no HEAD, each with a Content-Length; fail where there is more or less."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        assert end, f"half a head: {head!r}"
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        assert len(data) >= length, "half a body"
        found.append(Answer(int(start.split()[1]), headers, data[:length]))
        data = data[length:]
    return found

"""A server that treats its first connections as a test says, and passes the later ones on to a real service."""

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias


class Faulty(socketserver.ThreadingTCPServer):
    """`arrived` are the times of its connections, `heads` the requests that were answered by a fault."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, faults: Iterable["Fault"], upstream: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.upstream = upstream
        self.arrived: list[float] = []
        self.heads: list[str] = []
        self._faults = iter(faults)
        self._lock = threading.Lock()

    def next_fault(self) -> "Fault":
        """What the next connection gets."""
        with self._lock:
            self.arrived.append(time.monotonic())
            return next(self._faults, passes_on)

    def read(self, connection: socket.socket) -> None:
        """Take one request."""
        with connection.makefile("rb") as stream:
            head = b"".join(iter(stream.readline, b"\r\n")).decode("latin-1")
            lengths = [
                line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length")
            ]
            stream.read(int(lengths[0]) if lengths else 0)
        self.heads.append(head)


# What becomes of one connection.
Fault: TypeAlias = Callable[[Faulty, socket.socket], None]


class _Connection(socketserver.BaseRequestHandler):
    server: Faulty

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.server.next_fault()(self.server, self.request)


def passes_on(server: Faulty, connection: socket.socket) -> None:
    """Bytes both ways, until one side has no more."""
    assert server.upstream is not None, "more connections came than the test knows of"
    host, _, port = server.upstream.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as service:
        threading.Thread(target=_copy, args=(service, connection), daemon=True).start()
        _copy(connection, service)


def closes(server: Faulty, connection: socket.socket) -> None:
    """One request, and no answer at all."""
    server.read(connection)


def says_nothing(_: Faulty, connection: socket.socket) -> None:
    """It takes everything, until its client hangs up."""
    while connection.recv(65536):
        pass


def answers(
    status: int, body: object, media_type: str = "application/json", headers: str = "", cut: int | None = None
) -> Fault:
    """One request, and this for an answer; of its body no more than `cut` bytes."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    content = text.encode() if isinstance(text, str) else text
    head = (
        f"HTTP/1.1 {status} Said\r\ncontent-type: {media_type}\r\ncontent-length: {len(content)}\r\n{headers}"
        "connection: close\r\n\r\n"
    )

    def fault(server: Faulty, connection: socket.socket) -> None:
        server.read(connection)
        connection.sendall(head.encode() + content[:cut])

    return fault


def problem(status: int, kind: str, headers: str = "") -> Fault:
    """One request, and this problem for an answer."""
    document = {"type": f"urn:problem-type:calibrant:{kind}", "status": status, "detail": f"it is {kind}"}
    return answers(status, document, "application/problem+json", headers)


@contextlib.contextmanager
def faulty(faults: Iterable[Fault], upstream: str | None = None) -> Iterator[Faulty]:
    """Such a server, until the block ends."""
    with Faulty(faults, upstream) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)

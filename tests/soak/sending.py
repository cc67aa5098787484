"""Sends one request again and again, in a process of its own that starts at once: it imports nothing large."""

import socket
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event

from soak.wire import address


def status(url: str, request: bytes) -> str:
    """Send a request on a connection of its own, and read all of the answer; its status."""
    with socket.create_connection(address(url), timeout=60) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            head = list(iter(answer.readline, b"\r\n"))
            length = next(int(line.partition(b":")[2]) for line in head if line.lower().startswith(b"content-length"))
            while length and (piece := answer.read(min(length, 2**20))):
                length -= len(piece)
        return head[0].split()[1].decode()


def send(url: str, request: bytes, started: Barrier, stop: Event, statuses: "Queue[list[str]]") -> None:
    """Send until `stop`, once before the others are waited for; put the statuses into the queue."""
    seen = [status(url, request)]
    started.wait(60)
    while not stop.is_set():
        seen.append(status(url, request))
    statuses.put(seen)

"""A client that shuts its sending half after its requests, as `nc -N` does, gets every answer that it is owed."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raw import GOOD, answers, chunked, connected, post, until_closed
from running import Running, serving

V2 = json.dumps(
    {"inputs": [{"name": "readings", "shape": [3, 1], "datatype": "FP32", "data": [50.0, 68.0, 212.0]}]}
).encode()
LARGE = b'{"fahrenheit":[' + b"50," * 200_000 + b"50]}"
GET = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"
# Longer than a test may take, so that nothing but the end of the sending half closes anything.
FLAGS = ["--max-wait-ms", "100", "--keep-alive-seconds", "60", "--head-timeout-seconds", "60"]
REQUESTS = {
    "plain": post(GOOD),
    "with a header": post(GOOD, "x-unknown: 1"),
    "in chunks": chunked(GOOD),
    "with an offer": post(GOOD, "connection: upgrade", "upgrade: h2c"),
    "with an interval": post(GOOD, start="POST /predict?interval=0.5 HTTP/1.1"),
    "waiting for 100": post(GOOD, "expect: 100-continue"),
    "HTTP/1.0": post(GOOD, start="POST /predict HTTP/1.0"),
    "the last one": post(GOOD, "connection: close"),
    "CSV": post(b"fahrenheit\n50\n").replace(b"application/json", b"text/csv"),
    "activations": post(GOOD, start="POST /activations HTTP/1.1"),
    "v2": post(V2, start="POST /v2/models/thermometer/infer HTTP/1.1"),
    "models": GET % b"/models",
    "a probe": GET % b"/livez",
    "a page": GET % b"/docs",
    "large": post(LARGE),
    "large in chunks": chunked(LARGE, size=60_000),
    "large, with a header": post(LARGE, "x-unknown: 1"),
}
WRONG = {"not JSON": (post(b"{"), 400), "nothing there": (GET % b"/nope", 404), "no HTTP": (b"x\r\n\r\n", 400)}


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast door", "portable door"])
def doors(thermometer: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    """A service in which a batch waits for a while, with the fast door, which knows a plain head, and without."""
    with serving(thermometer, *FLAGS, "--fast-door", request.param) as running:
        running.until_ready()
        assert statuses(running, post(GOOD) + post(GOOD)) == [200, 200]
        yield running


def half_closed(service: Running, data: bytes) -> bytes:
    """Send this, shut the sending half, and return what comes until the service closes too."""
    with connected(service.url) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return until_closed(connection)


def statuses(service: Running, data: bytes) -> list[int]:
    """Return the statuses of the final answers."""
    return [answer.status for answer in answers(half_closed(service, data)) if answer.status != 100]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_before_the_end_is_answered(doors: Running, name: str) -> None:
    """Every kind of request is answered whole, the first time and once its head is known, and then closed."""
    for _ in range(2):
        started = time.monotonic()
        assert statuses(doors, REQUESTS[name]) == [200]
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_before_the_end_is_refused(doors: Running, name: str) -> None:
    """What cannot be answered gets its problem, also behind a request that is still at work."""
    sent, status = WRONG[name]
    assert statuses(doors, sent) == [status]
    assert statuses(doors, post(GOOD) + sent) == [200, status]


def test_several_requests_before_the_end_are_answered(doors: Running) -> None:
    """Requests in one segment are answered in their order, whichever way each of them goes."""
    names = ["plain", "in chunks", "plain", "models", "with an offer", "plain", "v2", "large", "plain"]
    data = b"".join(REQUESTS[name] for name in names)
    assert statuses(doors, data) == [200] * len(names)


@pytest.mark.parametrize(
    "first", [b"", post(GOOD), post(GOOD, "x-unknown: 1")], ids=["alone", "plain", "with a header"]
)
@pytest.mark.parametrize("part", [20, len(post(GOOD)) - len(GOOD), len(post(GOOD)) - 1])
@pytest.mark.parametrize("more", [(), ("x-unknown: 1",)], ids=["plain", "with a header"])
def test_half_a_request_is_given_up(doors: Running, first: bytes, part: int, more: tuple[str, ...]) -> None:
    """A request that can no longer become whole is not waited for; those before it are answered."""
    started = time.monotonic()
    assert statuses(doors, first + post(GOOD, *more)[:part]) == ([200] if first else [])
    assert time.monotonic() - started < 5


def test_an_idle_connection_is_closed_at_once(doors: Running) -> None:
    """A client that says that nothing more comes, and is owed nothing, is hung up on."""
    for data in (b"", b"\r\n"):
        started = time.monotonic()
        assert half_closed(doors, data) == b""
        assert time.monotonic() - started < 5
    with connected(doors.url) as connection:
        connection.sendall(post(GOOD))
        got = b""
        while not got.endswith(b"}"):
            got += connection.recv(1000)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""


def test_a_slow_reader_gets_all_of_its_answer(doors: Running) -> None:
    """An answer that does not fit into the connection is not cut off."""
    with connected(doors.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(post(LARGE))
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.5)  # so that the service has to wait for its reader
        (answer,) = answers(until_closed(connection))
    assert len(json.loads(answer.body)["predictions"]["celsius"]) == LARGE.count(b"50")


def test_clients_that_have_gone_are_forgotten(doors: Running) -> None:
    """A client that closes for good looks like one that only sends no more: it is written to, and then it is gone."""
    before = descriptors(doors)
    with contextlib.ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(connected(doors.url))
            connection.sendall(post(GOOD, *(("x-unknown: 1",) if number % 2 else ())))
    doors.until(lambda _: descriptors(doors) <= before + 1)


def descriptors(service: Running) -> int:
    """Return how many files and sockets the service holds."""
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))

"""SIGTERM: not ready at once, served on for the lame-duck time, then a drained and bounded end with its own status."""

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from running import Running, serving

BODY = b'{"fahrenheit":[50.0]}'
REQUEST = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\n" + BODY
WORKERS = pytest.mark.parametrize(("workers", "status"), [(1, -signal.SIGTERM), (2, 0)])
LONG = ["--lame-duck-seconds", "60"]


def is_stopping(url: str) -> bool:
    """Whether a new connection is told so."""
    answer = httpx.get(f"{url}/readyz", timeout=30)
    return answer.status_code == 503 and "stopping" in answer.text and "retry-after" in answer.headers


def predicts(url: str) -> bool:
    """Whether a new connection gets a prediction."""
    headers = {"content-type": "application/json"}
    return httpx.post(f"{url}/predict", content=BODY, headers=headers, timeout=30).status_code == 200


def stop(running: Running, workers: int) -> None:
    """Send SIGTERM, and wait until every process says that it stops."""
    running.until(lambda _: all(predicts(running.url) for _ in range(10 * workers)))
    running.process.send_signal(signal.SIGTERM)
    running.until(lambda _: all(is_stopping(running.url) for _ in range(10 * workers)))


@WORKERS
def test_a_lame_duck_is_not_ready_and_serves_on(thermometer: Path, workers: int, status: int) -> None:
    """On new connections too, for the time that was set; then it ends."""
    with serving(thermometer, "--workers", str(workers), "--lame-duck-seconds", "3") as running:
        stop(running, workers)
        assert predicts(running.url)
        assert httpx.get(f"{running.url}/livez").status_code == 200
        assert httpx.get(f"{running.url}/v2/health/ready").status_code == 503
        assert running.process.wait(20) == status


@WORKERS
def test_a_second_signal_ends_the_lame_duck_time(thermometer: Path, workers: int, status: int) -> None:
    """At once."""
    with serving(thermometer, "--workers", str(workers), *LONG) as running:
        stop(running, workers)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == status


@WORKERS
def test_ctrl_c_waits_for_nobody(thermometer: Path, workers: int, status: int) -> None:
    """SIGINT has no lame-duck time, and ends with status 0."""
    with serving(thermometer, "--workers", str(workers), *LONG) as running:
        running.until_ready()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(20) == 0


def whole_answer(connection: socket.socket) -> bytes:
    """Head and body, which may come apart."""
    answer = b""
    while not answer.endswith(b"}") and (more := connection.recv(65536)):
        answer += more
    return answer


def test_a_request_that_is_on_its_way_is_answered(thermometer: Path) -> None:
    """An idle connection is not closed under the request that its client has just sent."""
    with serving(thermometer) as running:
        running.until_ready()
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(REQUEST)
            assert whole_answer(connection).startswith(b"HTTP/1.1 200")
            running.process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            while time.monotonic() - started < 10:
                connection.sendall(REQUEST)
                answer = whole_answer(connection)
                assert answer.startswith(b"HTTP/1.1 200")
                if b"connection: close" in answer:
                    break
            assert connection.recv(1) == b""


@pytest.mark.parametrize("path", ["/predict", "/models/thermometer/predict", "/v2/models/thermometer/infer"])
def test_a_body_that_never_comes_whole_is_refused_at_the_end(thermometer: Path, path: str) -> None:
    """A request that is still on its way when the time is over gets a 503 with its id, and the log no traceback."""
    lines = [f"POST {path} HTTP/1.1", "host: x", "x-request-id: mine", "content-type: application/json"]
    head = "\r\n".join([*lines, "content-length: 30", "", "{"])
    with serving(thermometer, "--shutdown-timeout-seconds", "1") as running:
        running.until_ready()
        host, _, port = running.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(head.encode())
            running.client.get("/livez")
            running.process.send_signal(signal.SIGTERM)
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"x-request-id: mine" in answer

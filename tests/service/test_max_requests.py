"""More requests than `max_requests` at once: refused with the time to come back, and the probes answer."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import Running, serving

MOST = 3
HALF = b"POST /predict HTTP/1.1\r\nhost: x\r\nx-unknown: x\r\ncontent-type: application/json\r\n"
HALF += b"content-length: 21\r\n\r\n{"
BODY = b'{"fahrenheit":[50.0]}'
JSON = {"content-type": "application/json"}


@pytest.fixture
def full(thermometer: Path) -> Iterator[tuple[Running, list[socket.socket]]]:
    """A service in which as many requests as may be are at work: their bodies are still arriving."""
    with serving(thermometer, "--max-requests", str(MOST)) as running, contextlib.ExitStack() as opened:
        running.until_ready()
        host, port = running.url.removeprefix("http://").split(":")
        lines = []
        for _ in range(MOST):
            lines.append(opened.enter_context(socket.create_connection((host, int(port)), timeout=20)))
            lines[-1].sendall(HALF)
            assert running.client.get("/livez").status_code == 200  # so that it has been read
        yield running, lines


def test_one_more_is_refused_and_says_when_to_come_back(full: tuple[Running, list[socket.socket]]) -> None:
    """Whatever it asks for, each in its protocol's form, and counted."""
    client = full[0].client
    for _ in range(2):  # the second time its head is known
        refused = client.post("/predict", content=BODY, headers=JSON)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["type"].endswith(":overloaded")
    assert client.get("/models").status_code == 503
    assert client.get("/v2/models/thermometer").json() == {"error": f"{MOST} requests are at work"}
    assert 'calibrant_problems_total{kind="overloaded"} 4.0' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"])
def test_probes_are_never_refused(full: tuple[Running, list[socket.socket]], path: str) -> None:
    """Neither is a HEAD."""
    assert full[0].client.get(path).status_code == 200
    assert full[0].client.head(path).status_code == 200


def test_it_answers_again_when_one_is_done(full: tuple[Running, list[socket.socket]]) -> None:
    """A client that hangs up makes room, and so does one that is answered."""
    running, lines = full
    lines[0].close()
    running.until(lambda client: client.post("/predict", content=BODY, headers=JSON).status_code == 200)
    lines[1].sendall(BODY[1:])
    assert lines[1].recv(65536).startswith(b"HTTP/1.1 200")

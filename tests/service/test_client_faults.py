"""service.client when things go wrong: it waits, tries again, gives up in time, and says why."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from faults import Fault, Faulty, answers, closes, faulty, passes_on, problem, says_nothing
from running import Running, publish, serving
from service.client import (
    Client,
    ClientError,
    ConnectionLost,
    DeadlinePassed,
    ServiceDeadline,
    ServiceProblem,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)

TABLE = {"fahrenheit": [50.0, 68.0]}
SHORT = 0.5
AT_ONCE = 10.0


def asked_of(server: Faulty, timeout: float = 30.0) -> dict[str, list[Any]]:
    """The answer of a client of its own."""
    with Client(server.url, timeout=timeout) as client:
        return dict(client.predict(TABLE))


def check_right(service: Running, answered: dict[str, list[Any]]) -> None:
    """It is what the service says to who asks it directly."""
    expected = service.client.post("/predict", json=TABLE).json()
    assert answered["celsius"] == expected["predictions"]["celsius"]


def test_a_503_is_asked_again_when_it_says(service: Running) -> None:
    """Twice a second later, and then it answers."""
    busy = problem(503, "overloaded", "retry-after: 1\r\n")
    with faulty([busy, busy], service.url) as server:
        check_right(service, asked_of(server))
        first, second, third = server.arrived[:3]
    assert second - first >= 1
    assert third - second >= 1


@pytest.mark.parametrize("retry_after", ["", "soon", "0", "-5", "+9999", "9_999", "9e9", "\u0669\u0669\u0669\u0669"])
def test_a_503_without_a_time_is_asked_again_soon(service: Running, retry_after: str) -> None:
    """As a proxy may send it."""
    header = f"retry-after: {retry_after}\r\n" if retry_after else ""
    with faulty([answers(503, "busy", "text/plain", header)] * 2, service.url) as server:
        check_right(service, asked_of(server))
        assert server.arrived[2] - server.arrived[0] < AT_ONCE


@pytest.mark.parametrize("fault", [closes, answers(200, {"model": "m"}, cut=3)])
def test_a_lost_connection_is_tried_again(service: Running, fault: Fault) -> None:
    """Before the answer, or half-way through it; also while predictions are under way."""
    with faulty([fault, fault, passes_on, fault], service.url) as server:
        check_right(service, asked_of(server))
        values = np.linspace(20, 90, 120_000)
        with Client(server.url) as client:
            assert client.predict(values).shape == (120_000, 1)
        assert len(server.heads) == 3


def test_a_service_that_starts_is_waited_for(thermometer: Path) -> None:
    """From before it listens until it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answered: list[dict[str, list[Any]]] = []

    def ask() -> None:
        with Client(f"http://127.0.0.1:{port}") as client:
            answered.append(dict(client.predict(TABLE)))

    thread = threading.Thread(target=ask)
    thread.start()
    with serving(thermometer, "--port", str(port)) as running:
        thread.join(60)
        check_right(running, answered[0])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (closes, ConnectionLost),
        (says_nothing, DeadlinePassed),
        (problem(503, "unavailable"), Unavailable),
        (answers(200, "half an answer", cut=4), ConnectionLost),
    ],
)
def test_what_does_not_pass_is_the_error_when_time_is_up(fault: Fault, error: type[ClientError]) -> None:
    """Not at the first try, as it might pass; and not much after."""
    started = time.monotonic()
    with faulty([fault] * 99) as server, pytest.raises(error) as caught:
        asked_of(server, timeout=SHORT)
    assert type(caught.value) is error
    assert len(server.arrived) > 1 or time.monotonic() - started >= SHORT
    assert time.monotonic() - started < AT_ONCE


def test_a_refused_connection_is_an_error_when_time_is_up() -> None:
    """It names the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(url, timeout=SHORT) as client, pytest.raises(ConnectionLost, match=url):
        client.predict(TABLE)


def test_nobody_waits_for_a_retry_that_would_come_too_late() -> None:
    """The answer is clear at once."""
    with faulty([problem(503, "overloaded", "retry-after: 3600\r\n")]) as server, pytest.raises(Unavailable) as caught:
        asked_of(server)
    assert (caught.value.kind, caught.value.retry_after) == ("overloaded", 3600)
    assert len(server.arrived) == 1


@pytest.mark.parametrize("text", ["00000000003600", "0" * 5000 + "3600", "9" * 12, "9" * 5000])
def test_a_time_to_wait_is_read_whole(text: str) -> None:
    """Leading zeros do not shorten the pause that the service asks for, and a huge one is long."""
    with (
        faulty([problem(503, "overloaded", f"retry-after: {text}\r\n")]) as server,
        pytest.raises(Unavailable) as caught,
    ):
        asked_of(server)
    assert caught.value.retry_after in {3600, 10**9}
    assert len(server.arrived) == 1


@pytest.mark.parametrize(
    ("fault", "error", "status", "kind"),
    [
        (problem(401, "unauthorized"), Unauthorized, 401, "unauthorized"),
        (problem(500, "failed"), ServiceProblem, 500, "failed"),
        (problem(504, "deadline-passed"), ServiceDeadline, 504, "deadline-passed"),
        (answers(502, "<html>", "text/html"), ServiceProblem, 502, ""),
        (answers(301, "", headers="location: http://127.0.0.1:1/\r\n"), ServiceProblem, 301, ""),
    ],
)
def test_other_refusals_are_errors_at_once(fault: Fault, error: type[ServiceProblem], status: int, kind: str) -> None:
    """By their status, with what the service said."""
    with faulty([fault]) as server, pytest.raises(error) as caught:
        asked_of(server)
    assert (type(caught.value), caught.value.status, caught.value.kind) == (error, status, kind)
    assert str(caught.value) == (f"it is {kind}" if kind else f"{status} Said")
    assert len(server.arrived) == 1


@pytest.mark.parametrize(
    "fault",
    [answers(200, "<html>", "text/html"), answers(200, "[]"), answers(200, {"model": "m"}),
     answers(422, "{}", "application/problem+json")],
)  # fmt: skip
def test_another_services_answer_is_an_error(fault: Fault) -> None:
    """A URL may be the wrong one."""
    with faulty([fault]) as server, pytest.raises(UnexpectedAnswer, match="is the URL right"):
        asked_of(server)


def test_an_answer_with_too_few_rows_is_an_error() -> None:
    """It is not passed on as if it were whole."""
    manifest = {"features": [{"name": "fahrenheit"}], "targets": [{"name": "celsius"}]}
    script = [answers(200, {"model": "m", "version": "1"}),
              answers(200, {"model": "m", "version": "1", "manifest": manifest}),
              answers(200, {"predictions": {"celsius": [1.0]}, "out_of_range": []})]  # fmt: skip
    with faulty(script) as server, pytest.raises(UnexpectedAnswer, match="2 rows were sent, and 1 answered"):
        asked_of(server)


def test_the_key_goes_with_every_request() -> None:
    """As a bearer token; one that cannot be sent is refused, and not shown."""
    with faulty([problem(401, "unauthorized")]) as server, Client(server.url, api_key="s3cret") as client:
        with pytest.raises(Unauthorized):
            client.models()
        assert "authorization: Bearer s3cret\r\n".lower() in server.heads[0].lower()
    for key in ("s3cret\n", "s3crét"):
        with pytest.raises(ValueError, match="API key") as caught:
            Client(server.url, api_key=key)
        assert "s3cr" not in str(caught.value)


def test_one_version_answers_all_blocks(tmp_path: Path) -> None:
    """Also where another goes live while some of them are under way."""
    publish(tmp_path)
    values = np.linspace(20, 90, 300_000)
    with serving(tmp_path) as running:
        running.until_ready()

        def newest(client: httpx.Client) -> bool:
            return bool(client.post("/predict", json=TABLE).json()["version"] == "2")

        def after_the_swap(server: Faulty, connection: socket.socket) -> None:
            publish(tmp_path, "--seed", "1")
            running.until(newest)
            passes_on(server, connection)

        with Client(running.url) as client:
            before = client.predict(values)
        with faulty([passes_on, after_the_swap], running.url) as server, Client(server.url) as client:
            during, after = client.predict(values), client.predict(values)
    np.testing.assert_array_equal(during, before)
    assert not np.array_equal(after, before)


def test_a_known_version_takes_one_request_a_call(service: Running) -> None:
    """The second time, there is nothing left to look up."""
    before = requests(service)
    with Client(service.url) as client:
        for _ in range(3):
            client.predict(TABLE, model="thermometer", version=1)
    # Two to look the version up, and the first look at the metrics.
    assert requests(service) - before == 3 + 2 + 1


def requests(service: Running) -> float:
    """How many the service has answered."""
    lines = service.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("calibrant_requests_total"))

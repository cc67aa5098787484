"""The log: one JSON object a line on stderr, whatever happens and whatever clients send."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from running import Running, publish, serving

# A network that fails for one value, as no network that goes live does by itself.
FAILING = """
import service.predictor
run = service.predictor.Predictor.run
def fails(self, rows):
    if (rows == 666).any():
        raise RuntimeError("planted\\r\\n\\x1b[31m\\udc80")
    return run(self, rows)
service.predictor.Predictor.run = fails
"""


WARNING = """
import warnings
import service.store
close = service.store.Store.close
def warns(self):
    warnings.warn("planted", stacklevel=1)
    close(self)
service.store.Store.close = warns
"""


def planted(folder: Path, code: str) -> dict[str, str]:
    """An environment in which Python runs this code first."""
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def lines(log: str) -> list[dict[str, Any]]:
    """Every line, each of which is ASCII, an object, and has what all have."""
    assert log.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", log)
    found = [orjson.loads(line) for line in log.splitlines()]  # which takes no lone surrogate
    for line in found:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}
        assert line["logger"]
        assert line["event"]
    return found


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a service with two doors said of a failing model, of a broken version, and of hostile clients."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    publish(artifacts)
    environment = planted(tmp_path_factory.mktemp("planted"), FAILING)
    with serving(artifacts, "--head-timeout-seconds", "0.5", environment=environment) as running:
        running.until_ready()
        spoil(artifacts, 2)
        running.until(lambda client: client.get("/models/thermometer/versions/2").status_code == 200)
        running.until(lambda client: client.get("/models/thermometer/versions/2").json()["state"] == "failed")
        attack(running)
        running.process.terminate()
        assert running.process.stderr is not None
        log = running.process.stderr.read()
    return lines(log)


def spoil(artifacts: Path, version: int) -> None:
    """Publish one more version, which cannot go live."""
    spoiled = shutil.copytree(artifacts / "thermometer" / "1", artifacts / "spoiled")
    (spoiled / "network.pt").write_bytes(b"spoiled")
    spoiled.rename(artifacts / "thermometer" / str(version))


def attack(running: Running) -> None:
    """A failing model through each door, and bytes that would break a careless log."""
    for url in ("/predict", "/predict", "/models/thermometer/predict?", "/v2/models/thermometer/infer"):
        body: dict[str, Any] = {"fahrenheit": [666.0]}
        if url.startswith("/v2"):
            body = {"inputs": [{"name": "readings", "datatype": "FP32", "shape": [1, 1], "data": [666.0]}]}
        answer = running.client.post(url, json=body, headers={"authorization": "Bearer secret"})
        assert answer.status_code == 500
    named = running.client.post("/predict", json={"fahrenheit": [666.0]}, headers={"x-request-id": "find-me"})
    assert named.headers["x-request-id"] == "find-me"
    host, port = running.url.removeprefix("http://").split(":")
    for sent in (
        b"GET /%0d%0a%1b[31m HTTP/1.1\r\nhost: x\r\nx-request-id: a\x1b[2Jb\xed\xb2\x80\r\nconnection: close\r\n\r\n",
        b"GET /\x1b[2J\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x1b]0;title\x07 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x",  # and no more
    ):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(sent)
            while connection.recv(65536):
                pass


def test_every_line_is_an_object_from_the_first_to_the_last(eventful: list[dict[str, Any]]) -> None:
    """Start, going live, and the end among them, uvicorn's own too."""
    said = [line["event"] for line in eventful]
    assert "thermometer version 1 is ready" in said
    assert said[-1].startswith("Finished server process")


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_start_that_fails_is_said_in_the_same_form(count: str) -> None:
    """The first lines too: where the address is taken, there are no others."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ["--workers", count, "--port", str(taken.getsockname()[1])]
        command = [sys.executable, "-m", "service", "serve", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert [line for line in lines(done.stderr) if line["level"] == "error"]


def test_a_failed_model_is_found_by_its_requests_id(eventful: list[dict[str, Any]]) -> None:
    """One line each, with the trace in it, through every door."""
    failed = [line for line in eventful if line["event"] == "a request failed"]
    assert len(failed) == 5
    assert len({line["request_id"] for line in failed}) == 5
    (named,) = [line for line in failed if line["request_id"] == "find-me"]
    assert named["model"] == "thermometer"
    assert named["route"] == "/predict"
    assert named["status"] == 500
    assert named["level"] == "error"
    assert "RuntimeError: planted\r\n\x1b[31m\\udc80" in named["exception"]
    assert not [line for line in eventful if "exception" in line and line["event"] != "a request failed"]


def test_a_version_that_does_not_go_live_says_why(eventful: list[dict[str, Any]]) -> None:
    """Its model, its number and the reason in fields of their own."""
    (failed,) = [line for line in eventful if line["logger"] == "calibrant.store" and line["level"] == "error"][-1:]
    assert (failed["model"], failed["version"]) == ("thermometer", 2)
    assert "network.pt" in failed["reason"]


def test_refused_connections_are_said_now_and_then(eventful: list[dict[str, Any]]) -> None:
    """One a second and kind, with their number."""
    kinds = [line["kind"] for line in eventful if line["event"] == "a request was refused" and line["route"] == "other"]
    assert "not-parseable" in kinds
    assert "receive-timeout" in kinds


def test_nothing_that_clients_sent_is_in_it(eventful: list[dict[str, Any]]) -> None:
    """No header, no path, no value."""
    text = json.dumps(eventful)
    for sent in ("secret", "Bearer", "title", "nonsense", "[2J", "666.0"):
        assert sent not in text


@pytest.mark.parametrize("door", ["fast", "portable"])
def test_access_log(thermometer: Path, door: str) -> None:
    """Off unless asked for; then a line for each answer, through either door."""
    with serving(thermometer, "--access-log", "true", "--fast-door", str(door == "fast")) as running:
        running.until_ready()
        for _ in range(3):
            answer = running.client.post("/predict", json={"fahrenheit": [50.0]})
        running.client.get("/nope/%0d")
        running.process.terminate()
        assert running.process.stderr is not None
        found = [line for line in lines(running.process.stderr.read()) if line["logger"] == "calibrant.access"]
    asked = [line for line in found if line["route"] == "/predict"]
    assert len(asked) == 3
    assert asked[-1]["request_id"] == answer.headers["x-request-id"]
    assert (asked[-1]["method"], asked[-1]["model"], asked[-1]["status"]) == ("POST", "thermometer", 200)
    assert 0 < asked[-1]["seconds"] < 10
    assert [line["status"] for line in found if line["route"] == "other"] == [404]


def test_workers_and_their_parent_log_alike(thermometer: Path) -> None:
    """The death of one and the end of all."""
    with serving(thermometer, "--workers", "2") as running:
        running.until(lambda _: "calibrant_workers 2.0" in httpx.get(f"{running.url}/metrics", timeout=30).text, 60)
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        (first, _) = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(first), signal.SIGKILL)
        started = "calibrant_worker_starts_total 3.0"
        running.until(lambda _: started in httpx.get(f"{running.url}/metrics", timeout=30).text, 60)
        running.process.terminate()
        assert running.process.stderr is not None
        found = lines(running.process.stderr.read())
    assert f"worker {first} died with -9; another takes its place" in [line["event"] for line in found]
    assert [line["event"] for line in found if line["logger"] == "calibrant.store"]


def test_a_warning_of_python_is_a_line(thermometer: Path, tmp_path: Path) -> None:
    """Not loose text between the objects."""
    with serving(thermometer, environment=planted(tmp_path, WARNING)) as running:
        running.until_ready()
        running.process.terminate()
        assert running.process.stderr is not None
        found = lines(running.process.stderr.read())
    assert [line for line in found if "planted" in line["event"]]

"""``--traces true``: spans of requests, of their wait and of the model, to a real OTLP receiver."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from running import Running, serving

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GOOD = {"fahrenheit": [50.0, 60.0]}


class Collector(ThreadingHTTPServer):
    """Takes what OTLP exporters send by HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Received)
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def take(self, body: bytes) -> None:
        """Decode one export."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = resource.resource.attributes
            self.services |= {one.value.string_value for one in attributes if one.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        """The spans of that name."""
        return [span for span in self.spans if span.name == name]


class _Received(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        """Say nothing."""


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """A collector, until the block ends."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def traced(thermometer: Path) -> Iterator[tuple[Running, Collector]]:
    """A service that sends its traces to a collector."""
    with (
        collector() as receiving,
        serving(thermometer, "--traces", "true", environment=receiving.environment) as running,
    ):
        running.until_ready()
        yield running, receiving


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/predict", "/predict"),
        ("/models/thermometer/predict", "/models/{model}/predict"),
        ("/v2/models/thermometer/infer", "/v2/models/{model}/infer"),
    ],
)
def test_a_prediction_has_a_span_for_its_wait_and_one_for_the_model(
    traced: tuple[Running, Collector], path: str, route: str
) -> None:
    """Within its server span, one after the other, with the size of the batch; and all in the trace of its client."""
    running, receiving = traced
    body: dict[str, object] = dict(GOOD)
    if path.startswith("/v2"):
        body = {"inputs": [{"name": "readings", "datatype": "FP32", "shape": [2, 1], "data": [50.0, 60.0]}]}
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    for _ in range(3):  # a head that has been seen is the fast door's, without traces
        assert running.client.post(path, json=body, headers=headers).status_code == 200
    running.until(lambda _: len(receiving.named(f"POST {route}")) == 3)
    server = receiving.named(f"POST {route}")[-1]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)
    children = {span.name: span for span in receiving.spans if span.parent_span_id == server.span_id}
    assert children.keys() == {"queue", "model"}
    queue, model = children["queue"], children["model"]
    assert server.start_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert queue.end_time_unix_nano == model.start_time_unix_nano < model.end_time_unix_nano
    assert model.end_time_unix_nano <= server.end_time_unix_nano
    for span in children.values():
        assert {one.key: one.value.int_value for one in span.attributes} == {
            "calibrant.rows": 2,
            "calibrant.batch_rows": 2,
        }


def test_the_answer_is_the_same(traced: tuple[Running, Collector], service: Running) -> None:
    """Byte for byte, but for its id and its times; an error too."""
    running, _ = traced
    for body in (GOOD, {"fahrenheit": ["x"]}):
        ours, others = (one.client.post("/predict", json=body) for one in (running, service))
        assert ours.status_code == others.status_code
        assert ours.content == others.content
        assert ours.headers.keys() == others.headers.keys()


def test_probes_have_no_spans_and_the_service_has_its_name(traced: tuple[Running, Collector]) -> None:
    """They would be most of all spans."""
    running, receiving = traced
    for path in ("/livez", "/readyz", "/metrics", "/models"):
        running.client.get(path)
    running.until(lambda _: bool(receiving.named("GET /models")))
    assert not [span for span in receiving.spans if span.name.endswith(("livez", "readyz", "metrics"))]
    assert receiving.services == {"calibrant"}


def test_what_is_left_is_sent_at_the_end(thermometer: Path) -> None:
    """Also where the exporter would have waited for longer."""
    with collector() as receiving:
        slow = receiving.environment | {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
        with serving(thermometer, "--traces", "true", environment=slow) as running:
            running.until_ready()
            assert running.client.post("/predict", json=GOOD).status_code == 200
        assert len(receiving.named("POST /predict")) == 1


def test_a_collector_that_is_down_harms_nobody(thermometer: Path) -> None:
    """Requests are answered, and the end is as quick."""
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with serving(thermometer, "--traces", "true", environment=nowhere) as running:
        running.until_ready()
        assert running.client.post("/predict", json=GOOD).status_code == 200
        running.process.terminate()
        assert running.process.wait(10) == -signal.SIGTERM


def test_without_the_extra_the_start_fails_and_names_it() -> None:
    """In one line, with the status of a bad setting."""
    code = "import sys; sys.modules['opentelemetry.sdk'] = None; from service.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", "--traces", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: traces: ")
    assert "--editable '.[traces]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_when_off_nothing_of_it_is_imported(thermometer: Path, tmp_path: Path) -> None:
    """No SDK, no exporter, whatever the environment says."""
    at_exit = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('imported', [name for name in sys.modules if name.startswith("
        "('opentelemetry.sdk', 'opentelemetry.exporter', 'service.tracing'))], file=sys.stderr))\n"
    )
    (tmp_path / "sitecustomize.py").write_text(at_exit)
    with collector() as receiving:
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environment = receiving.environment | {"PYTHONPATH": path}
        with serving(thermometer, environment=environment) as running:
            running.until_ready()
            assert running.client.post("/predict", json=GOOD).status_code == 200
            running.process.send_signal(signal.SIGINT)
            assert running.process.stderr is not None
            assert "imported []" in running.process.stderr.read()
        assert not receiving.spans

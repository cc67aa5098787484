"""OpenTelemetry: FastAPI's own server spans, and in each prediction's one span for its wait and one for the model.

Imported with the setting `traces` only. The standard ``OTEL_*`` environment variables say where spans go.
"""

import os
import threading
import time

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.door import ENTRY_IN_SCOPE
from service.entry import Entry

_CLOSE_SECONDS = 2.0
_PROBES = {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}


class Traces:
    """Makes spans and sends them, as the environment says."""

    def __init__(self) -> None:
        os.environ.setdefault("OTEL_SERVICE_NAME", "calibrant")
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("calibrant")

    def telemetry(self) -> TelemetryConfig:
        """For FastAPI: a span for each request that is no probe, and nothing else."""
        return {
            "tracer_provider": self._provider,
            "exclude": lambda scope: scope["path"] in _PROBES,
            "operation_spans": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        }

    def install(self, app: FastAPI) -> None:
        """Have the entries' spans in this application's."""
        app.add_middleware(_EntrySpans, traces=self)

    def add(self, entry: Entry) -> None:
        """Spans, in the current one, of what an entry that is answered now went through."""
        queued = time.time_ns() - int((time.perf_counter() - entry.arrived) * 1e9)
        started = queued + int(entry.waited * 1e9)
        attributes = {"calibrant.rows": len(entry.rows), "calibrant.batch_rows": entry.batch}
        for name, start, end in (("queue", queued, started), ("model", started, started + int(entry.ran * 1e9))):
            self._tracer.start_span(name, start_time=start, attributes=attributes).end(end)

    def close(self) -> None:
        """Send what is left, for two seconds at most: a collector that is down holds up no exit."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


class _EntrySpans:
    """ASGI, inside the server span: adds those of the entry that a route has left in the scope."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything."""

        async def send_after_spans(message: Message) -> None:
            if message["type"] == "http.response.start" and ENTRY_IN_SCOPE in scope:
                self._traces.add(scope[ENTRY_IN_SCOPE])
            await send(message)

        await self._app(scope, receive, send_after_spans)

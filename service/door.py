"""The portable door: the outermost ASGI application, under any server. Answers predictions in JSON, hands on the rest.

Every request gets its id here, every response is counted here, and HEAD becomes GET without a body.
"""

from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import media, problems, request_id
from service.metrics import Metrics
from service.predict import Answer, predict
from service.problems import Overloaded, Problem
from service.resolve import Resolver
from service.settings import Settings
from service.store import Served
from service.v2 import error as v2_error

PREDICT = "/predict"
# Where a route leaves the name of the model that it found, so that its response is counted for it.
MODEL_IN_SCOPE = "calibrant.model"
_JSON = media.JSON.encode()
# What a request is counted under whose path is no route.
OTHER = "other"
# Answered whatever else is at work.
PROBES = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
Target: TypeAlias = tuple[str, str | None, str | None]


@dataclass(slots=True)
class Reply:
    """A response, before a door puts it into its server's form."""

    status: int
    media_type: bytes
    more: list[tuple[bytes, bytes]]
    identity: bytes
    body: bytes

    def headers(self) -> list[tuple[bytes, bytes]]:
        """As ASGI wants them."""
        return [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", self.media_type),
            *self.more,
            (request_id.HEADER, self.identity),
        ]

    def head(self) -> bytes:
        """The same as HTTP/1.1 has them, each line with its end."""
        more = b"".join([b"%b: %b\r\n" % header for header in self.more])
        return b"content-length: %d\r\ncontent-type: %b\r\n%bx-request-id: %b\r\n" % (
            len(self.body), self.media_type, more, self.identity,
        )  # fmt: skip


class Door:
    """ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html."""

    def __init__(self, app: ASGIApp, resolver: Resolver, settings: Settings, metrics: Metrics) -> None:
        self.resolver = resolver
        self.settings = settings
        self.requests = 0
        self._metrics = metrics
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on a lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        headers = dict(scope["headers"])
        identity = request_id.of(headers.get(request_id.HEADER))
        if self.is_full() and scope["path"] not in PROBES:
            await self._refuse(scope["path"], identity, started, send)
            return
        self.requests += 1
        try:
            await self._answer(scope, headers, identity, started, receive, send)
        finally:
            self.requests -= 1

    def is_full(self) -> bool:
        """Whether as many requests are at work, through all doors of this process, as there may be."""
        return self.requests >= self.settings.max_requests

    async def _answer(  # noqa: PLR0913, PLR0917 - what a request is, and the ways to its client
        self, scope: Scope, headers: dict[bytes, bytes], identity: bytes, started: float, receive: Receive, send: Send
    ) -> None:
        target = None
        if scope["method"] == "POST" and not scope["query_string"] and media.is_json_both_ways(headers):
            target = predict_target(scope["path"])
        if target is None:
            await self._route(scope, identity, started, receive, send)
            return
        served = None
        route, model, version = target
        try:
            served = self.resolver.served(model, version)
            outcome: Answer | Problem = await predict(served, headers, receive, self.settings)
        except Problem as problem:
            outcome = problem
        except ClientDisconnect:
            return
        await _send(self.reply(route, served, outcome, identity, started), send)

    async def _refuse(self, path: str, identity: bytes, started: float, send: Send) -> None:
        problem = Overloaded(f"{self.settings.max_requests} requests are at work", retry_after=1)
        reply = self.reply(OTHER, None, problem, identity, started)
        if v2_error.is_below(path):
            reply.media_type, reply.body = _JSON, v2_error.body(problem)
        await _send(reply, send)

    def reply(
        self, route: str, served: Served | None, outcome: Answer | Problem, identity: bytes, started: float
    ) -> Reply:
        """Count what came of a request, and word it, the same through every door."""
        model, version = (served.model, served.number) if served else ("", 0)
        if isinstance(outcome, Problem):
            self._metrics.failed(outcome.kind)
            reply = _problem_reply(outcome, identity)
        else:
            self._metrics.predicted(model, version, outcome.entry, outcome.out_of_range)
            timing = [(b"server-timing", outcome.server_timing())]
            reply = Reply(200, _JSON, timing, identity, outcome.body)
        self._metrics.responded(route, model, reply.status, perf_counter() - started)
        return reply

    async def _route(self, scope: Scope, identity: bytes, started: float, receive: Receive, send: Send) -> None:
        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (request_id.HEADER, identity)]
                route, model = getattr(scope.get("route"), "path", OTHER), scope.get(MODEL_IN_SCOPE, "")
                self._metrics.responded(route, model, message["status"], perf_counter() - started)
            await send(message)

        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send_with_id)


def predict_target(path: str) -> Target | None:
    """The route of a predict path, and the model and version that it names or None; None for any other path."""
    if path == PREDICT:
        return PREDICT, None, None
    match path.split("/"):
        case ["", "models", model, "predict"] if model:
            return "/models/{model}/predict", model, None
        case ["", "models", model, "versions", version, "predict"] if model and version:
            return "/models/{model}/versions/{version}/predict", model, version
    return None


async def _send(reply: Reply, send: Send) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers()})
    await send({"type": "http.response.body", "body": reply.body})


def _problem_reply(problem: Problem, identity: bytes) -> Reply:
    """A problem as a response."""
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    return Reply(problem.status.value, problems.MEDIA_TYPE.encode(), headers, identity, problem.body())

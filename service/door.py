"""The portable door: the outermost ASGI application, under any server. Answers predictions in JSON, hands on the rest.

Every request shows its key here before anything else, and gets its id; every response is counted here, and HEAD becomes
GET without a body.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import media, request_id
from service.access import Keyring
from service.body import IN_SCOPE as BODY_IN_SCOPE
from service.body import Body
from service.budget import Budget
from service.following import Following
from service.large_tables import LargeTables
from service.metrics import Metrics
from service.pages import HTML, Pages
from service.predict import Answer, predict
from service.problems import Overloaded, Problem, Unauthorized
from service.request_log import RequestLog
from service.resolve import Resolver
from service.served import Served
from service.settings import Settings
from service.v2 import error as v2_error

PREDICT = "/predict"
# What wants no key, and is answered whatever else is at work.
PROBES = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
# Where a route leaves the name of the model that it found, so that its response is counted for it.
MODEL_IN_SCOPE = "calibrant.model"
# Where a route leaves the entry of a prediction, so that a trace can show what it went through.
ENTRY_IN_SCOPE = "calibrant.entry"
# Where the door leaves the request's id.
IDENTITY_IN_SCOPE = "calibrant.request_id"
_JSON = media.JSON.encode()
# The one query of a prediction that the doors answer; what else there may be is told apart where routes are.
_INTERVAL = re.compile(rb"interval=([0-9.]{1,40})")
_PREFLIGHT = b"access-control-request-method"
# What a request is counted under whose path is no route.
OTHER = "other"
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

    def __init__(  # noqa: PLR0913 - what a request meets on its way, each by name
        self,
        app: ASGIApp,
        *,
        resolver: Resolver,
        settings: Settings,
        metrics: Metrics,
        request_log: RequestLog,
        keyring: Keyring,
        following: Following,
        pages: Pages,
        large_tables: LargeTables,
    ) -> None:
        self.resolver = resolver
        self.settings = settings
        self.keyring = keyring
        self.following = following
        self.requests = 0
        self.budget = Budget(settings.max_bytes_in_flight)
        self._large_tables = large_tables
        self._metrics = metrics
        self._pages = pages
        self._request_log = request_log
        self._app = app
        # With traces every request is FastAPI's, as the spans are.
        self._predicts = not settings.traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on a lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        headers = dict(scope["headers"])
        identity = request_id.of(headers.get(request_id.HEADER))
        if not self._admits(scope, headers):
            await _send(self._refusal(scope, headers, identity, started), send)
            return
        if self.is_full() and scope["path"] not in PROBES:
            problem = Overloaded(f"{self.settings.max_requests} requests are at work", retry_after=1)
            await _send(self.reply(OTHER, None, problem, identity, started, scope["path"]), send)
            return
        self.requests += 1
        body = Body(receive, headers.get(b"content-length"), self.settings.max_body_bytes, self.budget)
        try:
            await self._answer(scope, headers, identity, started, body, send)
        finally:
            self.requests -= 1
            body.release()

    def is_full(self) -> bool:
        """Whether as many requests are at work, through all doors of this process, as there may be."""
        return self.requests >= self.settings.max_requests

    async def _answer(  # noqa: PLR0913, PLR0917 - what a request is, and the ways to its client
        self, scope: Scope, headers: dict[bytes, bytes], identity: bytes, started: float, body: Body, send: Send
    ) -> None:
        target, interval = None, plain_interval(scope["query_string"])
        if self._predicts and scope["method"] == "POST" and interval is not None:
            target = predict_target(scope["path"]) if media.is_json_both_ways(headers) else None
        if self.settings.cors_origins and b"origin" in headers:
            target = None  # the next one knows the headers that it wants
        if target is None:
            await self._route(scope, identity, started, body, send)
            return
        served = None
        route, model, version = target
        try:
            served = self.resolver.served(model, version)
            outcome: Answer | Problem = await predict(
                served, interval or None, headers, body, self.settings, self._large_tables
            )
        except Problem as problem:
            outcome = problem
        except ClientDisconnect:
            return
        await _send(self.reply(route, served, outcome, identity, started), send)

    def reply(  # noqa: PLR0913, PLR0917 - the request, and what came of it
        self,
        route: str,
        served: Served | None,
        outcome: Answer | Problem,
        identity: bytes,
        started: float,
        path: str = "",
    ) -> Reply:
        """Count what came of a request, and word it, the same through every door; `path` says in whose form."""
        model = served.model if served else ""
        if isinstance(outcome, Problem):
            self._metrics.failed(outcome.kind)
            if outcome.status >= 500 or route == OTHER:
                self._request_log.problem(outcome, identity, route, model)
            reply = _problem_reply(outcome, identity, path)
        else:
            self._metrics.predicted(outcome.subject, outcome.entry, outcome.out_of_range)
            timing = [(b"server-timing", outcome.server_timing())]
            reply = Reply(200, _JSON, timing, identity, outcome.body)
        seconds = perf_counter() - started
        self._metrics.responded(route, model, reply.status, seconds)
        if self.settings.access_log:
            method = "" if route == OTHER else "POST"
            self._request_log.answered(identity, seconds, method=method, route=route, model=model, status=reply.status)
        return reply

    def _admits(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the request has a key that is good, or wants none, as a browser's question whether it may ask."""
        if self.keyring.access.admits(scope["headers"]) or scope["path"] in PROBES:
            return True
        preflight = scope["method"] == "OPTIONS" and b"origin" in headers and _PREFLIGHT in headers
        return preflight and self.settings.cors_origins is not None

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes], identity: bytes, started: float) -> Reply:
        """The same whatever is at this path: for a browser a page that asks for a key, else a problem."""
        path = scope["path"]
        reply = self.reply(OTHER, None, Unauthorized(), identity, started, path)
        reads_pages = scope["method"] in {"GET", "HEAD"} and media.prefers_html(headers.get(b"accept"))
        if reads_pages and not v2_error.is_below(path):
            reply.media_type, reply.body = HTML.encode(), self._pages.sign_in
            reply.more += _encoded(self._pages.sign_in_headers)
        return reply

    async def _route(self, scope: Scope, identity: bytes, started: float, body: Body, send: Send) -> None:
        method, answered = scope["method"], False

        async def send_with_id(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message["headers"], (request_id.HEADER, identity)]
                self._count(scope, method, message["status"], identity, perf_counter() - started)
            await send(message)

        scope = {**scope, IDENTITY_IN_SCOPE: identity, BODY_IN_SCOPE: body}
        scope["method"] = "GET" if method == "HEAD" else method
        try:
            await self._app(scope, body.receive, send_with_id)
        except Exception:
            if not answered:
                raise
            # Starlette raises what it has answered with a 500 once more; the log has it already.

    def _count(self, scope: Scope, method: str, status: int, identity: bytes, seconds: float) -> None:
        route, model = route_of(scope), scope.get(MODEL_IN_SCOPE, "")
        self._metrics.responded(route, model, status, seconds)
        if self.settings.access_log:
            self._request_log.answered(identity, seconds, method=method, route=route, model=model, status=status)


def route_of(scope: Scope) -> str:
    """The template of the path that a request has come to."""
    return getattr(scope.get("route"), "path", OTHER)


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


def plain_interval(query: bytes) -> str | None:
    """The interval that a query asks for, empty where there is no query; None for any other query."""
    if not query:
        return ""
    found = _INTERVAL.fullmatch(query)
    return found[1].decode() if found else None


def _problem_reply(problem: Problem, identity: bytes, path: str) -> Reply:
    status, media_type, body = v2_error.response(problem, path)
    return Reply(status.value, media_type.encode(), _encoded(problem.headers), identity, body)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _send(reply: Reply, send: Send) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers()})
    await send({"type": "http.response.body", "body": reply.body})

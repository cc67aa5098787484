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
from service.problems import Problem
from service.resolve import Resolver
from service.settings import Settings
from service.store import Served

PREDICT = "/predict"
# Where in its scope a request that was handed on has its Prediction.
PREDICTION = "calibrant.prediction"
_JSON = media.JSON.encode()
Target: TypeAlias = tuple[str | None, str | None]


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


@dataclass(slots=True)
class Prediction:
    """What a route says of a prediction that was handed on to it, so that the door can count it."""

    served: Served | None = None
    outcome: Answer | Problem | None = None


class Door:
    """ASGI: https://asgi.readthedocs.io/en/latest/specs/www.html."""

    def __init__(self, app: ASGIApp, resolver: Resolver, settings: Settings, metrics: Metrics) -> None:
        self.resolver = resolver
        self.settings = settings
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
        target = None
        if scope["method"] == "POST":
            target = predict_target(scope["path"])
        if target is None or scope["query_string"] or not media.is_json_both_ways(headers):
            await self._route(scope, identity, started, receive, send)
            return
        try:
            reply = await self._predict(target, headers, identity, started, receive)
        except ClientDisconnect:
            return
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers()})
        await send({"type": "http.response.body", "body": reply.body})

    async def _predict(
        self, target: Target, headers: dict[bytes, bytes], identity: bytes, started: float, receive: Receive
    ) -> Reply:
        served = None
        try:
            served = self.resolver.served(*target)
            outcome: Answer | Problem = await predict(served, headers, receive, self.settings)
        except Problem as problem:
            outcome = problem
        return self.reply(served, outcome, identity, started)

    def reply(self, served: Served | None, outcome: Answer | Problem, identity: bytes, started: float) -> Reply:
        """Count what came of a prediction, and word it, the same through every door."""
        if isinstance(outcome, Problem):
            reply = problem_reply(outcome, identity)
        else:
            timing = [(b"server-timing", outcome.server_timing())]
            reply = Reply(200, _JSON, timing, identity, outcome.body)
        self._count(Prediction(served, outcome), reply.status, started)
        return reply

    def _count(self, prediction: Prediction, status: int, started: float) -> None:
        model = prediction.served.model if prediction.served else ""
        outcome = prediction.outcome
        if isinstance(outcome, Problem):
            self._metrics.failed(outcome.kind)
        elif outcome is not None:
            self._metrics.predicted(model, outcome.entry, outcome.out_of_range)
        self._metrics.responded(PREDICT, model, status, perf_counter() - started)

    async def _route(self, scope: Scope, identity: bytes, started: float, receive: Receive, send: Send) -> None:
        prediction = Prediction()
        is_prediction = scope["method"] == "POST" and predict_target(scope["path"]) is not None

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (request_id.HEADER, identity)]
                if is_prediction:
                    self._count(prediction, message["status"], started)
                else:
                    route = getattr(scope.get("route"), "path", "other")
                    self._metrics.responded(route, "", message["status"], perf_counter() - started)
            await send(message)

        scope = {**scope, PREDICTION: prediction}
        if scope["method"] == "HEAD":
            scope["method"] = "GET"
        await self._app(scope, receive, send_with_id)


def predict_target(path: str) -> Target | None:
    """The model and version that a predict path names, None for each it does not; None for any other path."""
    if path == PREDICT:
        return None, None
    match path.split("/"):
        case ["", "models", model, "predict"] if model:
            return model, None
        case ["", "models", model, "versions", version, "predict"] if model and version:
            return model, version
    return None


def problem_reply(problem: Problem, identity: bytes) -> Reply:
    """A problem as a response."""
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    return Reply(problem.status.value, problems.MEDIA_TYPE.encode(), headers, identity, problem.body())

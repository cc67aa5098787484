"""Two doors and FastAPI's route, one contract: the same bytes get the same answer through each of them.

Three services of one artifact, and raw sockets. The fast door takes only heads that it has seen whole before, so that
everything is sent more than once.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import socket
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias, cast

import numpy as np
import pytest
import torch
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from running import Running, serving_through_each_door
from service import artifact
from service.access import Access, Keyring
from service.app import create_app
from service.protocol import Connection
from service.settings import Settings

# Small, so that small bodies meet them: 41 to 45 rows do not fit into the queue, more are too many.
LIMITS = ["--max-queue-rows", "40", "--max-rows", "45", "--max-body-bytes", "2000"]
PAUSE_SECONDS = 0.0008  # long enough for most pieces to be read one by one
GOOD = b'{"fahrenheit":[50.0,68.0,212.0]}'
JSON = ("content-type", "application/json")
KNOWN_IDS = (b"abc-1", b"~" * 128)
LAST = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
Headers: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """An answer, without what differs from one time to the next."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Client:
    """A connection on which every byte is the test's own."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """One write for each piece; to a connection that the service has closed, none."""
        with contextlib.suppress(ConnectionError):
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(PAUSE_SECONDS)
                self.socket.sendall(piece)

    def reply(self, method: str = "POST") -> Reply | None:
        """The next answer; None where the service has closed instead."""
        try:
            start = self._file.readline()
            headers = []
            while line := self._file.readline().rstrip(b"\r\n"):
                name, _, value = line.partition(b": ")
                headers.append((name, value))
            status = int(start.split()[1]) if start else 0
            bodiless = method == "HEAD" or status < 200
            body = self._file.read(0 if bodiless else int(dict(headers)[b"content-length"]))
        except ConnectionError:
            return None
        kept = [header if header[1] in KNOWN_IDS else masked(*header) for header in headers if header[0] != b"date"]
        return Reply(status, tuple(sorted(kept)), body) if status else None

    def replies(self, methods: Sequence[str]) -> list[Reply | None]:
        """One final answer for each method, and the interim ones before them."""
        found: list[Reply | None] = []
        for method in methods:
            found.append(self.reply(method))
            while found[-1] and found[-1].status == 100:
                found.append(self.reply(method))
        return found


def masked(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The header without its value, where no two answers have the same."""
    return name, b"" if name in {b"x-request-id", b"server-timing"} else value


def request(
    body: bytes = GOOD, headers: Headers = (JSON,), start: str = "POST /predict HTTP/1.1", *, length: bool = True
) -> bytes:
    """A request as bytes."""
    lines = [start, "host: x", *(f"{name}: {value}" for name, value in headers)]
    if length:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, sizes: Sequence[int] = (), headers: Headers = (JSON,)) -> bytes:
    """A request whose body comes in chunks, of these sizes and what remains."""
    chunks, at = [], 0
    for size in (*sizes, len(body)):
        if chunk := body[at : at + size]:
            chunks.append(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        at += size
    coding = [*headers, ("transfer-encoding", "chunked")]
    return request(b"".join(chunks) + b"0\r\n\r\n", coding, length=False)


def split(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data cut at these places."""
    cuts = sorted({0, len(data), *(place % len(data) for place in places)})
    return [data[start:stop] for start, stop in itertools.pairwise(cuts)]


def exchange(service: Running, pieces: Sequence[bytes], methods: Sequence[str]) -> list[Reply | None]:
    """What comes back on a new connection, and last whether it answers one more request after that."""
    with Client(service.url) as client:
        client.send(*pieces)
        found = client.replies(methods)
        client.send(LAST)
        return [*found, client.reply()]


def agree(services: Sequence[Running], *pieces: bytes, methods: Sequence[str] = ("POST",)) -> list[Reply | None]:
    """What every service says to the same bytes, the first time and the second."""
    first = exchange(services[0], pieces, methods)
    for service in (*services[1:], *services):
        assert exchange(service, pieces, methods) == first
    return first


def status(replies: Sequence[Reply | None]) -> list[int]:
    """Their statuses; 0 for a connection that was closed instead."""
    return [reply.status if reply else 0 for reply in replies]


@pytest.fixture(scope="module")
def services(thermometer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    """One with the fast door, one with the portable door only, one with neither."""
    with serving_through_each_door(thermometer, tmp_path_factory.mktemp("route-only"), *LIMITS) as three:
        yield three


def few(examples: int) -> settings:
    """So many examples, the same ones each time."""
    return settings(max_examples=examples, deadline=None, derandomize=True)


def dumped(value: object) -> bytes:
    """As JSON; what is not JSON too, such as NaN."""
    return json.dumps(value).encode()


def mutated(body: bytes, at: int, piece: bytes, cut: int) -> bytes:
    """The body with something else in one place."""
    at %= len(body) + 1
    return body[:at] + piece + body[at + cut :]


NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000)
TABLES = st.lists(NUMBERS, max_size=50).map(lambda column: dumped({"fahrenheit": column}))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
BODIES = st.one_of(
    TABLES,
    st.builds(mutated, TABLES, st.integers(0, 500), st.binary(max_size=3), st.integers(0, 3)),
    ANY_JSON.map(dumped),
    ANY_JSON.map(lambda value: dumped({"fahrenheit": value})),
    st.lists(NUMBERS | ANY_JSON, max_size=5).map(lambda column: dumped({"fahrenheit": column})),
    st.builds(lambda one, two: one[:-1] + b"," + two[1:], TABLES, TABLES),
    st.binary(max_size=60),
    st.integers(1900, 2100).map(GOOD.rjust),
)
CONTENT_TYPES = st.sampled_from(
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/json;", "text/plain",
     "application/jsonx", "", "application/json, text/plain", "text/csv", "text/csv; charset=latin-1",
     "application/vnd.apache.arrow.stream"]
)  # fmt: skip
ACCEPTS = st.sampled_from(
    ["*/*", "application/json", "application/*;q=0.1", "image/png", "application/json;q=0", "text/html, */*;q=0.1",
     "application/json;q=x", "", ",", ";", "\xff", "text/csv", "application/vnd.apache.arrow.stream, */*;q=0.5"]
)  # fmt: skip
OTHERS = st.sampled_from(
    [("x-request-id", "abc-1"), ("x-request-id", "~" * 128), ("x-request-id", "a b"), ("x-request-id", "a" * 129),
     ("x-request-id", ""), ("x-request-id", "\xe9"), ("x-request-timeout-ms", "10000"),
     ("x-request-timeout-ms", "99999999999999999999999"), ("x-request-timeout-ms", "0"), ("x-request-timeout-ms", "-1"),
     ("x-request-timeout-ms", "1e3"), ("x-request-timeout-ms", ""), ("x-request-timeout-ms", "+5000"),
     ("content-encoding", "gzip"), ("content-encoding", "identity"), ("content-encoding", ""),
     ("accept-encoding", "gzip"), ("user-agent", "x/1"), ("authorization", "Bearer x"),
     ("origin", "http://y"), ("cookie", "a=b"), ("x-odd!#$%&'*", '\xe9\t ,;"'),
     ("connection", "keep-alive"), ("connection", "close"), ("connection", "Keep-Alive, x-odd"), ("te", "trailers"),
     ("content-type", "text/plain"), ("accept", "image/png"), ("host", "y"), ("expect", "100-continue"),
     ("upgrade", "h2c"), ("x-long", "y" * 2100)]
)  # fmt: skip
CASES = st.sampled_from([str.lower, str.upper, str.title])
PATHS = [
    "/predict", "/models/thermometer/predict", "/models/thermometer/versions/1/predict", "/predict?", "/predict#a",
    "http://y/predict", "/%70redict", "/predict?x=1", "/predict?&", "/predict/", "//predict", "/Predict", "/predict%0A",
    "/models/nope/predict", "/models/thermometer/versions/2/predict", "/models/thermometer/versions/01/predict",
    "/models/thermometer/versions/x/predict", "/models/thermometer%2Fversions%2F1/predict", "/models/%FF/predict",
    "/models/thermometer%00/predict", "/models//predict", "/models/thermometer/versions//predict",
    "/models/thermometer/versions/1/predict/", "/models/predict", "/nope", "*",
]  # fmt: skip
START = "POST /predict HTTP/1.1"


@st.composite
def headed(draw: st.DrawFn) -> bytes:
    """A good body, with headers good and bad, in any order and case, with a length or in chunks."""
    headers = [("content-type", draw(CONTENT_TYPES))] if draw(st.integers(0, 5)) else []
    if draw(st.booleans()):
        headers.append(("accept", draw(ACCEPTS)))
    headers += draw(st.lists(OTHERS, max_size=3, unique_by=lambda header: header[0]))
    headers = [(draw(CASES)(name), value) for name, value in draw(st.permutations(headers))]
    if draw(st.booleans()):
        return chunked(GOOD, draw(st.lists(st.integers(1, 20), max_size=3)), headers)
    return request(GOOD, headers)


@given(body=BODIES)
@few(150)
def test_bodies_good_and_bad(services: list[Running], body: bytes) -> None:
    """Whatever the body is, and whichever way it is framed."""
    answers = agree(services, request(body))
    assert status(answers)[0] in {200, 400, 413, 422, 503}
    assert status(answers)[1] == 200
    assert agree(services, chunked(body, [1])) == answers


@given(column=st.lists(st.floats(-1000, 1000, width=32), max_size=40))
@few(40)
def test_good_bodies_get_what_the_network_gives(services: list[Running], column: list[float]) -> None:
    """Right, and not only the same."""
    (answer, _) = agree(services, request(dumped({"fahrenheit": column})))
    assert answer is not None
    found = json.loads(answer.body)["predictions"]["celsius"]
    with torch.inference_mode():
        network = artifact.read(services[0].artifacts / "thermometer" / "1").network
        expected = network(torch.tensor(column).reshape(-1, 1)).numpy()[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@given(sent=headed())
@few(200)
def test_headers_good_and_bad(services: list[Running], sent: bytes) -> None:
    """Content types, Accept, ids, deadlines, codings, repeated and odd headers, Expect, Connection: close."""
    answers = agree(services, sent)
    assert set(status(answers[:-1])) <= {100, 200, 400, 406, 415, 422}


@pytest.mark.parametrize("accept", ["*/*", "text/csv", "application/json"])
@pytest.mark.parametrize("rows", [[], ["50", "68"], ["x"], ["1"] * 41, ["1"] * 46])
def test_tables_in_csv(services: list[Running], rows: list[str], accept: str) -> None:
    """Whichever door they come to."""
    headers = [("content-type", "text/csv"), ("accept", accept)]
    agree(services, request("\n".join(["fahrenheit", *rows]).encode(), headers))


@pytest.mark.parametrize("path", PATHS)
def test_paths(services: list[Running], path: str) -> None:
    """Those of a prediction, those that look like it, and others, with every method."""
    agree(services, request(start=f"POST {path} HTTP/1.1"))
    agree(services, request(start=f"POST {path} HTTP/1.0"))
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        agree(services, request(b"", (), f"{method} {path} HTTP/1.1"), methods=[method])


@pytest.mark.parametrize(
    ("rows", "expected", "header"),
    [(40, 200, b"server-timing"), (41, 503, b"retry-after"), (46, 413, b"x-request-id")],
)
def test_limits(services: list[Running], rows: int, expected: int, header: bytes) -> None:
    """The queue's and the request's hold through every door, with the headers that say so."""
    answer, _ = agree(services, request(dumped({"fahrenheit": [1.5] * rows})))
    assert answer is not None
    assert answer.status == expected
    assert header in dict(answer.headers)


def test_http_1_0_is_answered_and_closed(services: list[Running]) -> None:
    """With and without a wish to keep it open."""
    for headers in ([JSON], [JSON, ("connection", "keep-alive")]):
        answers = agree(services, request(headers=headers, start="POST /predict HTTP/1.0"))
        assert status(answers) == [200, 0]


def test_connection_close_is_honoured(services: list[Running]) -> None:
    """Answered, with the same header, and closed."""
    answer, after = agree(services, request(headers=[JSON, ("connection", "close")]))
    assert answer is not None
    assert (answer.status, after) == (200, None)
    assert dict(answer.headers)[b"connection"] == b"close"


@pytest.mark.parametrize(
    ("headers", "expected"), [([JSON], [100, 200, 200]), ([("content-type", "text/plain")], [415, 0])]
)
def test_expect_is_answered_before_the_body_comes(
    services: list[Running], headers: Headers, expected: list[int]
) -> None:
    """100 where the body is wanted; where its headers are wrong already, the final answer at once, and the end."""
    sent = request(headers=[*headers, ("expect", "100-continue")])
    for service in services * 2:
        with Client(service.url) as client:
            client.send(sent[: -len(GOOD)])
            first = client.reply()
            client.send(GOOD)
            found = [first, *client.replies(["POST"] if status([first]) == [100] else [])]
            client.send(LAST)
            assert status([*found, client.reply()]) == expected


def test_a_deadline_holds_while_the_body_comes(services: list[Running]) -> None:
    """It counts from the request's head."""
    head = request(headers=[JSON, ("x-request-timeout-ms", "1")])[: -len(GOOD)]
    agree(services, head + b'{"fahrenheit":[]}'.ljust(len(GOOD)), methods=["POST"][:0])  # the head is known then
    for service in services * 2:
        with Client(service.url) as client:
            client.send(head)
            time.sleep(0.02)
            client.send(GOOD)
            assert status([client.reply()]) == [504]


def test_split_in_two_at_every_byte(services: list[Running]) -> None:
    """A good request's answer does not depend on how it arrives."""
    sent = request()
    whole = agree(services, sent)
    for service in services:
        for place in range(1, len(sent)):
            assert exchange(service, split(sent, [place]), ["POST"]) == whole


@given(body=BODIES, places=st.lists(st.integers(1, 2200), min_size=2, max_size=6), sizes=st.lists(st.integers(1, 9)))
@few(25)
def test_split_in_several(services: list[Running], body: bytes, places: list[int], sizes: list[int]) -> None:
    """Nor does any other request's."""
    for sent in (request(body), chunked(body, sizes)):
        whole = agree(services, sent)
        assert agree(services, *split(sent, places)) == whole


@given(requests=st.lists(st.one_of(BODIES.map(request), headed()), min_size=2, max_size=5), place=st.integers(0, 3000))
@few(60)
def test_pipelined(services: list[Running], requests: list[bytes], place: int) -> None:
    """Several requests in one write, or in two, get the answers that they get alone, in their order."""
    alone: list[Reply | None] = []
    for sent in requests:
        *answers, after = agree(services, sent)
        if status(alone)[-1:] != [0]:
            alone += [*answers, *([] if after else [None])]
    methods = ["POST"] * len(requests)
    for pieces in ([b"".join(requests)], split(b"".join(requests), [place])):
        together = [answer for answer in agree(services, *pieces, methods=methods)[:-1] if answer is not None]
        assert together == [answer for answer in alone if answer is not None]


def test_an_answer_is_not_lost_to_what_follows_it(services: list[Running]) -> None:
    """Garbage after a good request is refused after that request's answer, not in its place."""
    agree(services, request())
    answers = agree(services, request() + b"garbage\r\n\r\n", methods=["POST", "POST"])
    assert status(answers) == [200, 400, 0]


@given(bodies=st.lists(BODIES, min_size=2, max_size=6))
@few(25)
def test_one_connection_for_many(services: list[Running], bodies: list[bytes]) -> None:
    """Each request on a kept connection is answered as on a new one."""
    alone = [agree(services, request(body))[0] for body in bodies]
    for service in services:
        with Client(service.url) as client:
            for body, expected in zip(bodies, alone, strict=True):
                client.send(request(body))
                assert client.reply() == expected


def test_trailers_are_no_headers(services: list[Running]) -> None:
    """A trailer changes nothing, whether it comes with its request or after it."""
    sent = chunked(GOOD)[:-2] + b"content-type: text/plain\r\nx-request-id: abc-1\r\n\r\n"
    whole = agree(services, sent)
    assert whole == agree(services, request())
    assert agree(services, sent[:-40], sent[-40:]) == whole


def test_clients_that_hang_up(services: list[Running]) -> None:
    """In the head, in the body, or before the answer: the next request is answered as ever."""
    sent = request()
    expected = agree(services, sent)
    head = len(sent) - len(GOOD)
    for service in services:
        for stop in (1, head // 2, head - 1, head, head + 1, len(sent) - 1, len(sent)):
            for data in (sent[:stop], sent + sent[:stop]):
                with Client(service.url) as client:
                    client.send(data)
                assert exchange(service, [sent], ["POST"]) == expected
    assert agree(services, sent) == expected


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        """One write of the connection's."""
        self.written.append(bytes(data))

    def close(self) -> None:
        """The connection is to be closed."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it is."""
        return self.closed

    def pause_reading(self) -> None:
        """There is nothing to pause."""

    def resume_reading(self) -> None:
        """Nor to resume."""


@pytest.mark.parametrize("access", [Access(), Access((hashlib.sha256(b"x").digest(),))], ids=["open", "keys"])
def test_a_known_head_needs_no_task_and_no_application(thermometer: Path, access: Access) -> None:
    """The fast door answers the second request itself, in one write, however it is split; its key is in the head."""
    asyncio.run(_known_head(thermometer, access))


async def _known_head(artifacts: Path, access: Access) -> None:
    loop = asyncio.get_running_loop()
    tasks: list[object] = []

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        tasks.append(coroutine)
        return asyncio.Task(cast("Coroutine[Any, Any, Any]", coroutine), loop=loop, **options)

    called: list[str] = []
    door = create_app(Settings(artifacts=artifacts), None, Keyring(access))
    store = door.resolver._store
    await asyncio.to_thread(store.refresh)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope["path"])
        await door(scope, receive, send)

    config = uvicorn.Config(door, lifespan="off", ws="none", log_config=None, proxy_headers=False)
    connection = Connection(config, ServerState(), {}, loop)
    connection.app = cast("Any", application)
    wire = Wire()
    connection.connection_made(wire)
    loop.set_task_factory(make_task)

    async def answered(*pieces: bytes) -> bytes:
        wire.written.clear()
        for piece in pieces:
            connection.data_received(piece)
        for _ in range(10):
            await asyncio.sleep(0)
        return b"".join(wire.written)

    sent = request(headers=[JSON, ("authorization", "Bearer x")])
    first = await answered(sent)
    assert (called, len(tasks)) == (["/predict"], 1)
    body = first.partition(b"\r\n\r\n")[2]
    head = len(sent) - len(GOOD)
    for places in ([0], [head], [head + 1], [head, -1], range(head, len(sent))):
        again = await answered(*split(sent, places))
        assert again.startswith(b"HTTP/1.1 200 OK\r\n")
        assert again.endswith(b"\r\n\r\n" + body)
        assert len(wire.written) == 1
    assert (await answered(sent * 3)).count(body) == 3
    assert (called, len(tasks)) == (["/predict"], 1)
    connection.connection_lost(None)
    store.close()

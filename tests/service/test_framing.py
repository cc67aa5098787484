"""Where a request ends: an offered upgrade is ignored, what is ambiguous is refused, no body is read as a request."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raw import GOOD, PLAIN, Answer, answers, chunked, connected, post, split, until_closed
from running import Running, serving

FIRST = b'{"fahrenheit":[50.0]}'
# Were it read as a request, it would be answered as one.
SMUGGLED = b"GET /livez HTTP/1.1\r\nhost: smuggled\r\n\r\n"
LAST = post(GOOD, "connection: close")
OFFER = ("Connection: Upgrade", "Upgrade: websocket")
H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAA",
)
OFFERS = {
    "websocket": OFFER,
    "h2c": H2C,
    "case": ("CONNECTION: uPGRADE", "UPGRADE: TLS/1.0"),
    "several": ("connection: keep-alive", "connection: x,upgrade", "upgrade: a", "upgrade: b, c"),
    "no connection": ("upgrade: h2c",),
    "no upgrade": ("connection: upgrade",),
    "empty": ("connection: upgrade", "upgrade:"),
    "far apart": ("upgrade: h2c", "x-between: 1", "connection: upgrade"),
}
PAUSE_SECONDS = 0.002


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast door", "portable door"])
def doors(thermometer: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    """A service with the fast door, which knows a plain head, and one without."""
    with serving(thermometer, "--fast-door", request.param) as running:
        running.until_ready()
        for _ in range(2):
            assert statuses(asked(running, post(GOOD) + LAST)) == [200, 200]
        yield running


def asked(service: Running, *pieces: bytes, pause: float = 0.0) -> list[Answer]:
    """Return what comes back on a new connection until the service closes."""
    with connected(service.url) as connection:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            try:
                connection.sendall(piece)
            except ConnectionError:
                break
        return answers(until_closed(connection))


def statuses(found: list[Answer]) -> list[int]:
    """Return the statuses."""
    return [answer.status for answer in found]


def rows(found: list[Answer]) -> list[int]:
    """Return how many predictions are in each answer; each must be a good one."""
    assert {answer.status for answer in found} <= {100, 200}, found
    return [len(json.loads(answer.body)["predictions"]["celsius"]) for answer in found if answer.status == 200]


@pytest.mark.parametrize("name", OFFERS)
def test_an_offered_upgrade_is_ignored(doors: Running, name: str) -> None:
    """A request that offers another protocol is answered, and so are those behind it, in one segment and in several."""
    for request in (post(FIRST, *OFFERS[name]), chunked(FIRST, *OFFERS[name])):
        whole = request * 3 + LAST
        for _ in range(2):
            assert rows(asked(doors, whole)) == [1, 1, 1, 3]
        for places in ([len(request)], [len(request) - len(FIRST)], [len(request) - 3, len(request) + 3]):
            assert rows(asked(doors, *split(whole, places), pause=PAUSE_SECONDS)) == [1, 1, 1, 3]


def test_an_offered_upgrade_is_ignored_at_every_cut(doors: Running) -> None:
    """Wherever the bytes are cut into two segments, each request gets its own answer."""
    whole = post(FIRST, *H2C) + LAST
    for place in range(1, len(whole)):
        assert rows(asked(doors, *split(whole, [place]), pause=PAUSE_SECONDS)) == [1, 3], place


def test_an_offered_upgrade_is_ignored_in_many_pieces(doors: Running) -> None:
    """Requests with offers, in lengths and in chunks, cut into random pieces, get their answers in order."""
    chance = random.Random(0)
    for _ in range(20):
        offers = chance.choices([*OFFERS.values()], k=4)
        requests = [chunked(FIRST, *offer) if chance.random() < 0.5 else post(FIRST, *offer) for offer in offers]
        whole = b"".join(requests) + LAST
        places = chance.sample(range(1, len(whole)), 12)
        assert rows(asked(doors, *split(whole, places), pause=PAUSE_SECONDS)) == [1, 1, 1, 1, 3]


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_body_behind_an_offer_is_no_request(doors: Running, version: str) -> None:
    """A body that looks like a request is refused as a body, whatever segment it comes in."""
    sent = post(SMUGGLED, *OFFER, "connection: close", start=f"POST /predict {version}")
    for place in (0, len(sent) - len(SMUGGLED), len(sent) - len(SMUGGLED) + 5):
        assert statuses(asked(doors, *split(sent, [place]), pause=PAUSE_SECONDS)) == [400]


def test_an_offer_waits_for_its_body_to_be_wanted(doors: Running) -> None:
    """An offer with `Expect: 100-continue` gets the interim answer, and then its own."""
    sent = post(FIRST, *H2C, "expect: 100-continue")
    with connected(doors.url) as connection:
        connection.sendall(sent[: -len(FIRST)])
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(FIRST + LAST)
        assert rows(answers(until_closed(connection))) == [1, 3]


def test_many_offers_in_one_segment_are_read_at_once(doors: Running) -> None:
    """Thousands of small requests with offers hold up nobody."""
    one = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
    started = time.monotonic()
    found = asked(doors, one * 3000 + LAST)
    assert statuses(found) == [200] * 3001
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "captured",
    [
        # Java 17's java.net.http.HttpClient, and curl 7.88 with --http2.
        b"POST /predict HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: 21\r\n"
        b"Host: 127.0.0.1:37449\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
        b"User-Agent: Java-http-client/17.0.15\r\ncontent-type: application/json\r\n\r\n" + FIRST,
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
        b"content-type: application/json\r\nContent-Length: 21\r\n\r\n" + FIRST,
    ],
    ids=["java", "curl"],
)
def test_what_clients_send_that_prefer_http_2(doors: Running, captured: bytes) -> None:
    """The very bytes of two clients that offer HTTP/2 get their answers, and their connections are kept."""
    head = captured[: -len(FIRST)]
    for pieces in ([captured + captured + LAST], [head, FIRST + head, FIRST + LAST]):
        assert rows(asked(doors, *pieces, pause=PAUSE_SECONDS)) == [1, 1, 3]


START = b"POST /predict HTTP/1.1\r\n"
REFUSED = {
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n",
    "CONNECT to a path": b"CONNECT /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    "CONNECT with an offer": b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "an offer in HTTP/2.0": b"GET /livez HTTP/2.0\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "a length and chunks": START + b"host: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": START + b"host: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "both behind an offer": START + b"host: x\r\nconnection: upgrade\r\nupgrade: x\r\n"
    b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"host: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n1",
    "the same length twice": START + b"host: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n1",
    "the same length twice in an offer": START
    + b"host: x\r\nupgrade: x\r\nconnection: upgrade\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n1",
    "a list of lengths": START + b"host: x\r\ncontent-length: 1, 1\r\n\r\n1",
    "a signed length": START + b"host: x\r\ncontent-length: +1\r\n\r\n1",
    "an empty length": START + b"host: x\r\ncontent-length:\r\n\r\n",
    "a length beyond 64 bits": START + b"host: x\r\ncontent-length: 18446744073709551617\r\n\r\n1",
    "chunked, identity": START + b"host: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity": START + b"host: x\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "gzip": START + b"host: x\r\ntransfer-encoding: gzip\r\n\r\n0\r\n\r\n",
    "two codings": START + b"host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /predict HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "an empty coding": START + b"host: x\r\ntransfer-encoding:\r\n\r\n0\r\n\r\n",
    "a space before the colon": START + b"host: x\r\ncontent-length : 5\r\n\r\n12345",
    "a folded line": START + b"host: x\r\nx-y: 1\r\n 2\r\ncontent-length: 0\r\n\r\n",
    "a folded offer": START + b"host: x\r\nconnection: upgrade\r\nupgrade: a,\r\n b\r\ncontent-length: 0\r\n\r\n",
    "a bare LF": START + b"host: x\ncontent-length: 0\r\n\r\n",
    "a bare CR": START + b"host: x\rcontent-length: 0\r\n\r\n",
    "a NUL": START + b"host: x\r\nx-y: a\0b\r\ncontent-length: 0\r\n\r\n",
    "a bare LF in chunks": START + b"host: x\r\ntransfer-encoding: chunked\r\n\r\n0\n\r\n",
    "a bare LF in an extension": START + b"host: x\r\ntransfer-encoding: chunked\r\n\r\n1;a\n1\r\n0\r\n\r\n",
    "a bare CR in an extension": START + b"host: x\r\ntransfer-encoding: chunked\r\n\r\n1;a\rb\r\n1\r\n0\r\n\r\n",
    "a chunk without an end": START + b"host: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n12\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": START + b"host: x\r\ntransfer-encoding: chunked\r\n\r\n10000000000000001\r\n1",
    "a negative chunk": START + b"host: x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n1",
    "a length in a trailer": START + b"host: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 5\r\n\r\n",
    "a fragment": b"GET /livez#a HTTP/1.1\r\nhost: x\r\n\r\n",
    "a star": b"GET * HTTP/1.1\r\nhost: x\r\n\r\n",
    "another scheme": b"GET ftp://x/livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "a user in the target": b"GET http://a@x/livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "no path in the target": b"GET http://x HTTP/1.1\r\nhost: x\r\n\r\n",
    "letters beyond ASCII": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "no host in the target": b"GET http:///livez HTTP/1.1\r\nhost: x\r\n\r\n",
}
HOSTS = {
    "none": b"",
    "two": b"host: x\r\nhost: x\r\n",
    "two that differ in case": b"host: x\r\nHOST: y\r\n",
    "two as one": b"host: x, y\r\n",
    "two as one without a space": b"host: x,y\r\n",
    "a user": b"host: a@x\r\n",
    "a space": b"host: a b\r\n",
    "a path": b"host: x/y\r\n",
    "a query": b"host: x?y\r\n",
    "a scheme": b"host: http://x\r\n",
    "a port that is none": b"host: x:http\r\n",
    "a signed port": b"host: x:-1\r\n",
    "a port alone": b"host: :80\r\n",
    "two ports": b"host: x:1:2\r\n",
    "half a bracket": b"host: [::1\r\n",
    "a name in brackets": b"host: [x]\r\n",
    "quotes": b'host: "x"\r\n',
    "markup": b"host: <x>\r\n",
    "other letters": b"host: \xc3\xa9\r\n",
    "half an escape": b"host: %2\r\n",
}


def check_refused(found: list[Answer], status: int, kind: str) -> None:
    """There is one answer, this problem, and the service closed."""
    assert statuses(found) == [status]
    assert found[0].headers["content-type"] == "application/problem+json"
    assert found[0].headers["connection"] == "close"
    assert json.loads(found[0].body)["type"] == f"urn:problem-type:calibrant:{kind}"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ambiguous_is_400(doors: Running, name: str) -> None:
    """A head or a body that two readers could understand in two ways is refused, and nothing behind it is read."""
    check_refused(asked(doors, REFUSED[name] + SMUGGLED * 2), 400, "not-parseable")
    assert statuses(asked(doors, post(GOOD) + REFUSED[name] + SMUGGLED * 2)) == [200, 400]


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked", "x;y=z ,chunked"])
def test_other_codings_are_501(doors: Running, coding: str) -> None:
    """A body in a transfer coding that is not read is refused before it is read."""
    sent = START + b"host: x\r\ntransfer-encoding: %b\r\n\r\n0\r\n\r\n" % coding.encode()
    check_refused(asked(doors, sent + SMUGGLED), 501, "not-supported")


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("start", [b"POST /predict HTTP/1.1\r\n", b"GET /livez HTTP/1.1\r\n"])
def test_a_host_that_is_none_is_400(doors: Running, name: str, start: bytes) -> None:
    """HTTP/1.1 needs exactly one Host, and a valid one, also where the same request without a fault is known."""
    head = start + HOSTS[name] + PLAIN.partition(b"host: x\r\n")[2] + b"content-length: %d\r\n\r\n" % len(GOOD)
    for _ in range(3):
        check_refused(asked(doors, head + GOOD + LAST), 400, "not-parseable")


@pytest.mark.parametrize("host", ["x", "x:80", "x:", "", "a.b-c_d.example:65535", "[::1]:8000", "127.0.0.1", "%41"])
def test_a_host_that_is_good(doors: Running, host: str) -> None:
    """A name or an address, with or without a port, and an empty one are good."""
    for _ in range(2):
        assert rows(asked(doors, post(FIRST, host=host) + LAST)) == [1, 3]


def test_http_1_0_needs_no_host(doors: Running) -> None:
    """HTTP/1.0 may leave the Host out, and may not send two."""
    start = b"POST /predict HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(GOOD)
    assert rows(asked(doors, start + b"\r\n" + GOOD)) == [3]
    check_refused(asked(doors, start + b"host: x\r\nhost: y\r\n\r\n" + GOOD), 400, "not-parseable")


def test_below_v2_a_refusal_is_in_that_protocols_form(doors: Running) -> None:
    """A fault of a head, of an expectation or of a chunk below /v2 is told as {"error": ...}."""
    start = b"POST /v2/models/thermometer/infer HTTP/1.1\r\n"
    for fault, status in (
        (b"\r\n", 400),
        (b"host: x\r\nexpect: y\r\n\r\n", 417),
        (b"host: x\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", 400),
    ):
        (found,) = asked(doors, start + fault)
        assert found.status == status
        assert found.headers["content-type"] == "application/json"
        assert set(json.loads(found.body)) == {"error"}


@pytest.mark.parametrize("expect", ["100-Continue, x", "200-ok", "x"])
def test_other_expectations_are_417(doors: Running, expect: str) -> None:
    """An Expect that asks for anything else is refused, and the body is not read as a request."""
    found = asked(doors, post(SMUGGLED, f"expect: {expect}"))
    check_refused(found, 417, "expectation-failed")


@pytest.mark.parametrize(
    ("path", "status"), [("/predict", 415), ("/models/nope/predict", 404), ("/nope", 404), ("/models", 405)]
)
def test_an_answer_before_the_body_closes(doors: Running, path: str, status: int) -> None:
    """A client that waits for 100 and gets its final answer may send its body or not: the connection ends."""
    lines = [f"POST {path} HTTP/1.1", "host: x", "expect: 100-continue", f"content-length: {len(SMUGGLED)}", "", ""]
    with connected(doors.url) as connection:
        connection.sendall("\r\n".join(lines).encode())
        (found,) = answers(until_closed(connection))
    assert (found.status, found.headers["connection"]) == (status, "close")


def test_an_answer_after_the_body_keeps_the_connection(doors: Running) -> None:
    """A client that does not wait for 100 sends its body with its head, and can go on."""
    sent = post(GOOD, "expect: 100-continue").replace(b"application/json", b"text/plain")
    assert statuses(asked(doors, sent + LAST)) == [415, 200]


def test_an_expectation_without_a_body_gets_no_interim_answer(doors: Running) -> None:
    """There is nothing to wait for, and the connection goes on."""
    for asking in (
        post(b"", "expect: 100-continue"),
        b"GET /livez HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\r\n",
    ):
        first, last = statuses(asked(doors, asking + LAST))
        assert (first == 100, last) == (False, 200)


def test_http_1_0_expects_nothing(doors: Running) -> None:
    """An Expect in HTTP/1.0 means nothing (RFC 9110, section 10.1.1)."""
    for expect in ("100-continue", "x"):
        assert rows(asked(doors, post(GOOD, f"expect: {expect}", start="POST /predict HTTP/1.0"))) == [3]
        assert len(asked(doors, post(GOOD, f"expect: {expect}", start="POST /predict HTTP/1.0"))) == 1


@pytest.mark.parametrize("behind", [SMUGGLED, b"x" * 100_000, b"\r\n" * 20_000, b"\0"])
def test_nothing_behind_the_last_request_is_read(thermometer: Path, behind: bytes) -> None:
    """What follows a request with `Connection: close` is no request, and spoils no answer that is on its way."""
    with serving(thermometer, "--max-wait-ms", "300") as running:
        running.until_ready()
        for sent in (LAST, post(GOOD, "connection: close", start="POST /predict HTTP/1.0")):
            for pieces in ([sent + behind], [sent, behind]):
                assert rows(asked(running, *pieces, pause=0.05)) == [3]


def test_a_trailer_that_closes_does_not_leave_the_client_waiting(doors: Running) -> None:
    """The parser reads nothing behind `Connection: close`, also where it is a trailer: so the connection is closed."""
    sent = chunked(GOOD)[:-2] + b"connection: close\r\n\r\n"
    (found,) = asked(doors, sent + SMUGGLED)
    assert (found.status, found.headers["connection"]) == (200, "close")


@pytest.mark.parametrize("path", ["/models/", "/v2/", "/docs/", "/predict/", "/livez/", "/openapi.json/", "/page/"])
def test_no_redirects(doors: Running, path: str) -> None:
    """A path with a slash too many is not found, and no answer repeats what the host was called."""
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        head = f"{method} {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
        with connected(doors.url) as connection:
            connection.sendall(head.encode())
            data = until_closed(connection)
        assert data.split(b" ")[1] == b"404"
        assert b"location" not in data.lower()
        assert b"evil" not in data


def test_no_answer_repeats_the_host(doors: Running) -> None:
    """No page, document or redirect is made of what a client says that the host is called."""
    for path in (
        "/",
        "/docs",
        "/openapi.json",
        "/models",
        "/v2",
        "/v2/models/thermometer",
        "/nope",
        "/metrics",
        "/readyz",
    ):
        for target in (path, "http://evil.example" + path):
            with connected(doors.url) as connection:
                connection.sendall(f"GET {target} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".encode())
                assert b"evil" not in until_closed(connection), path

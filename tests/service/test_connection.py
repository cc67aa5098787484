"""The limits of a connection: how long a request may take to arrive, how large its head may be, and how it all ends."""

import contextlib
import json
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import Running, serving

HEAD_SECONDS = 0.4
BODY_SECONDS = 0.8
KEEP_ALIVE_SECONDS = 1
MAX_HEAD_BYTES = 2000
FLAGS = [
    "--head-timeout-seconds", str(HEAD_SECONDS), "--body-timeout-seconds", str(BODY_SECONDS),
    "--keep-alive-seconds", str(KEEP_ALIVE_SECONDS), "--max-head-bytes", str(MAX_HEAD_BYTES),
]  # fmt: skip
SLACK_SECONDS = 0.5
GOOD = b'{"fahrenheit":[50.0,68.0,212.0]}'
# The fast door has seen the first one, and never takes the second.
KNOWN = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
UNKNOWN = KNOWN.replace(b"host: x\r\n", b"host: x\r\nx-unknown: x\r\n")
HEADS = pytest.mark.parametrize("head", [KNOWN, UNKNOWN], ids=["known", "unknown"])


@pytest.fixture(scope="module")
def strict(thermometer: Path) -> Iterator[Running]:
    """A service with small limits, that knows the plain head of a good request."""
    with serving(thermometer, *FLAGS) as running:
        running.until_ready()
        teach(running)
        yield running


@pytest.fixture
def line(strict: Running) -> Iterator[socket.socket]:
    """A connection to it; afterwards the service answers a good request."""
    with connected(strict) as connection:
        yield connection
    with connected(strict) as another:
        assert ask(another)[0] == 200


def connected(service: Running) -> socket.socket:
    """A new connection."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def teach(service: Running) -> None:
    """Let the fast door see the plain head."""
    for _ in range(2):
        with connected(service) as connection:
            assert ask(connection)[0] == 200


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += receive(connection)
    assert len(body) == int(headers["content-length"]), "something came after the answer"
    return int(start.split()[1]), headers, body


def receive(connection: socket.socket) -> bytes:
    """Some bytes; fails the test where there are none any more."""
    data = connection.recv(65536)
    assert data, "the connection was closed without an answer"
    return data


def ask(connection: socket.socket, body: bytes = GOOD) -> tuple[int, dict[str, str], bytes]:
    """A plain request's answer."""
    connection.sendall(KNOWN % len(body) + body)
    return answer(connection)


def closed_after(connection: socket.socket) -> float:
    """Seconds until the service closes; fails the test when anything comes before."""
    started = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(65536) == b""
    return time.monotonic() - started


def check_refused(connection: socket.socket, status: int, kind: str) -> None:
    """The answer is this problem, and the last."""
    found, headers, body = answer(connection)
    assert found == status
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-request-id"]
    problem = json.loads(body)
    assert (problem["status"], problem["type"]) == (status, f"urn:problem-type:calibrant:{kind}")
    assert closed_after(connection) < SLACK_SECONDS


def send_until_refused(connection: socket.socket, piece: bytes, most: int, pause: float = 0.0) -> int:
    """Send it again and again until something comes back; how many bytes were sent."""
    sent = 0
    connection.setblocking(False)
    with contextlib.suppress(ConnectionError):
        while sent < most:
            with contextlib.suppress(BlockingIOError):
                sent += connection.send(piece)
            with contextlib.suppress(BlockingIOError):
                connection.recv(1, socket.MSG_PEEK)
                break
            time.sleep(pause)
    connection.settimeout(5)
    return sent


def test_a_head_a_byte_at_a_time_is_408(line: socket.socket) -> None:
    """However steadily it comes."""
    started = time.monotonic()
    for byte in KNOWN % len(GOOD):
        line.sendall(bytes([byte]))
        time.sleep(0.02)
        if time.monotonic() - started > HEAD_SECONDS - 0.1:
            break
    check_refused(line, 408, "receive-timeout")
    assert HEAD_SECONDS - 0.1 < time.monotonic() - started < HEAD_SECONDS + SLACK_SECONDS


def test_the_second_head_has_no_more_time_than_the_first(line: socket.socket) -> None:
    """Its time counts from its own first byte."""
    assert ask(line)[0] == 200
    time.sleep(HEAD_SECONDS * 0.75)
    assert ask(line)[0] == 200
    time.sleep(HEAD_SECONDS * 0.75)
    line.sendall(UNKNOWN[:40])
    started = time.monotonic()
    check_refused(line, 408, "receive-timeout")
    assert HEAD_SECONDS - 0.1 < time.monotonic() - started < HEAD_SECONDS + SLACK_SECONDS


@HEADS
@pytest.mark.parametrize("first", [0, 1], ids=["alone", "after another"])
def test_a_body_that_stops_is_408(line: socket.socket, head: bytes, first: int) -> None:
    """Whichever door reads it, on a new connection and on a kept one."""
    for _ in range(first):
        assert ask(line)[0] == 200
    line.sendall(head % len(GOOD) + GOOD[:-1])
    started = time.monotonic()
    check_refused(line, 408, "receive-timeout")
    assert BODY_SECONDS - 0.1 < time.monotonic() - started < BODY_SECONDS + SLACK_SECONDS


def test_a_chunked_body_that_stops_is_408(line: socket.socket) -> None:
    """Nobody knows how much is missing; that it stopped is plain."""
    head = KNOWN.replace(b"content-length: %d", b"transfer-encoding: chunked")
    line.sendall(head + b"%x\r\n%b" % (len(GOOD), GOOD))
    check_refused(line, 408, "receive-timeout")


@HEADS
def test_a_body_has_its_own_time(line: socket.socket, head: bytes) -> None:
    """One that takes longer than a head may, and no longer than a body may, is answered."""
    line.sendall(head % len(GOOD) + GOOD[:-1])
    time.sleep((HEAD_SECONDS + BODY_SECONDS) / 2)
    line.sendall(GOOD[-1:])
    assert answer(line)[0] == 200


def test_what_was_answered_already_is_not_refused_too(line: socket.socket) -> None:
    """A body that is not wanted, and does not come: one answer, then the end."""
    line.sendall(KNOWN.replace(b"application/json", b"text/plain") % len(GOOD))
    assert answer(line)[0] == 415
    assert closed_after(line) < BODY_SECONDS + SLACK_SECONDS


def test_a_head_of_many_headers_is_431(line: socket.socket) -> None:
    """One header after the other, without an end."""
    sent = send_until_refused(line, b"POST /predict HTTP/1.1\r\n", 24) + send_until_refused(
        line, b"x-more: %b\r\n" % (b"y" * 90), 50 * MAX_HEAD_BYTES, 0.002
    )
    check_refused(line, 431, "head-too-large")
    assert sent < 5 * MAX_HEAD_BYTES


@pytest.mark.parametrize("start", [b"POST /", b"POST /predict HTTP/1.1\r\nx-", b"POST /predict HTTP/1.1\r\nx: "])
def test_a_line_that_never_ends_is_431(line: socket.socket, start: bytes) -> None:
    """The path, a header's name or its value: nothing is kept of it beyond the limit."""
    line.sendall(start)
    assert send_until_refused(line, b"y" * 100, 50 * MAX_HEAD_BYTES, 0.002) < 5 * MAX_HEAD_BYTES
    check_refused(line, 431, "head-too-large")


def test_a_whole_head_in_one_piece_is_431(line: socket.socket) -> None:
    """And one that is just within the limit is not."""
    head = KNOWN.replace(b"host: x\r\n", b"host: x\r\nx-long: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\n") % len(GOOD)
    line.sendall(head + GOOD)
    assert answer(line)[0] == 200
    line.sendall(head.replace(b"x-long", b"x-long: " + b"y" * 200 + b"\r\nx-longer"))
    check_refused(line, 431, "head-too-large")


def test_trailers_that_never_end_are_refused(line: socket.socket) -> None:
    """What may follow a chunked body is bounded as its head is."""
    line.sendall(KNOWN.replace(b"content-length: %d", b"transfer-encoding: chunked") + b"0\r\nx: ")
    assert send_until_refused(line, b"y" * 1000, 200 * MAX_HEAD_BYTES, 0.001) < 50 * MAX_HEAD_BYTES


@HEADS
def test_a_body_is_no_part_of_the_next_head(line: socket.socket, head: bytes) -> None:
    """A long body and half of the next head, in one piece: both requests are answered."""
    body = GOOD.ljust(2 * MAX_HEAD_BYTES)
    line.sendall(head % len(body) + body)
    assert answer(line)[0] == 200
    line.sendall(head % len(body) + body + head[:30])
    assert answer(line)[0] == 200
    line.sendall(head[30:] % len(GOOD) + GOOD)
    assert answer(line)[0] == 200


def test_an_idle_connection_is_closed(line: socket.socket) -> None:
    """After its time, without a word."""
    assert ask(line)[0] == 200
    assert KEEP_ALIVE_SECONDS - 0.1 < closed_after(line) < KEEP_ALIVE_SECONDS + SLACK_SECONDS


@HEADS
def test_the_idle_time_begins_with_the_answer(line: socket.socket, head: bytes) -> None:
    """A body that was slow takes nothing from it."""
    line.sendall(head % len(GOOD) + GOOD[:-1])
    time.sleep(HEAD_SECONDS * 0.9)
    line.sendall(GOOD[-1:])
    assert answer(line)[0] == 200
    time.sleep(KEEP_ALIVE_SECONDS * 0.8)
    assert ask(line)[0] == 200


def test_a_connection_that_says_nothing_is_closed(line: socket.socket) -> None:
    """As an idle one."""
    assert closed_after(line) < KEEP_ALIVE_SECONDS + SLACK_SECONDS


@pytest.mark.parametrize(
    "garbage",
    [b"garbage\r\n\r\n", b"POST /predict\r\n\r\n", b"\x00\x01\x02", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
     b"POST /predict HTTP/9.9\r\n\r\n", b"POST /predict HTTP/1.1\r\nno colon\r\n\r\n", b"CONNECT x:80 HTTP/1.1\r\n\r\n",
     b"POST /predict HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"POST /\xff HTTP/1.1\r\n\r\n",
     b"POST /predict HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
     b"POST /predict HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"],
)  # fmt: skip
def test_garbage_is_400(line: socket.socket, garbage: bytes) -> None:
    """What is not HTTP gets a problem, and is closed."""
    line.sendall(garbage)
    check_refused(line, 400, "not-parseable")


def test_a_chunk_that_is_none_is_400(line: socket.socket) -> None:
    """Garbage in a body's framing, found while the request is being read."""
    head = KNOWN.replace(b"content-length: %d", b"transfer-encoding: chunked")
    line.sendall(head)
    time.sleep(0.05)
    line.sendall(b"xyz\r\n")
    check_refused(line, 400, "not-parseable")


def test_others_are_served_meanwhile(strict: Running) -> None:
    """Connections that dawdle, dozens of them, hold up nobody."""
    with contextlib.ExitStack() as stack:
        for number in range(60):
            dawdler = stack.enter_context(connected(strict))
            dawdler.sendall((b"", b"POST /pre", KNOWN % 50 + b"{", UNKNOWN % 50 + b"{")[number % 4])
        with connected(strict) as good:
            for _ in range(20):
                started = time.monotonic()
                assert ask(good)[0] == 200
                assert time.monotonic() - started < 0.2
                time.sleep(0.05)


def test_sigterm_answers_what_is_half_sent(thermometer: Path) -> None:
    """Good bodies and bad ones, known heads and unknown ones: each is answered and closed, and nothing waits longer."""
    cases = [(head, body, status) for head in (KNOWN, UNKNOWN) for body, status in ((GOOD, 200), (b"x" * 32, 400))]
    with serving(thermometer, "--shutdown-timeout-seconds", "5") as running:
        running.until_ready()
        teach(running)
        with contextlib.ExitStack() as stack:
            lines = [stack.enter_context(connected(running)) for _ in cases]
            idle, begun = stack.enter_context(connected(running)), stack.enter_context(connected(running))
            assert ask(idle)[0] == 200
            begun.sendall(KNOWN[:20])
            for connection, (head, body, _) in zip(lines, cases, strict=True):
                connection.sendall(head % len(body) + body[:5])
            assert running.client.get("/livez").status_code == 200  # so that all of it has been read
            running.process.send_signal(signal.SIGTERM)
            assert closed_after(idle) < 2
            assert closed_after(begun) < 2
            for connection, (_, body, status) in zip(lines, cases, strict=True):
                connection.sendall(body[5:])
                found, headers, _ = answer(connection)
                assert (found, headers.get("connection")) == (status, "close")
                assert closed_after(connection) < 2
        assert running.process.wait(3) in {143, -signal.SIGTERM}


SLOW_SECONDS = 0.4
BEHIND = {
    "half a head": (UNKNOWN[:20], b"408"),
    "half a body": (UNKNOWN % 50 + b"{", b"408"),
    "garbage": (b"garbage\r\n\r\n", b"400"),
    "a bad chunk": (b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", b"400"),
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_slow_answer_is_not_lost_to_the_next_request(thermometer: Path, name: str) -> None:
    """What follows it dawdles or is broken while the model is at work: the answer first, then the refusal."""
    second, status = BEHIND[name]
    limits = ["--head-timeout-seconds", str(SLOW_SECONDS), "--body-timeout-seconds", str(SLOW_SECONDS)]
    with serving(thermometer, "--max-wait-ms", "1000", *limits) as running:
        running.until_ready()
        with connected(running) as connection:
            connection.sendall(UNKNOWN % len(GOOD) + GOOD + second)
            with connection.makefile("rb") as both:
                assert re.findall(rb"HTTP/1.1 (\d+)", both.read()) == [b"200", status]


def is_established(connection: socket.socket) -> bool:
    """Whether the service still holds its end: a client that does not read is not told."""
    port = f":{connection.getsockname()[1]:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(remote.endswith(port) and state == "01" for _, _, remote, state, *_ in map(str.split, lines))


@HEADS
def test_who_does_not_read_the_answer_is_hung_up_on(thermometer: Path, head: bytes) -> None:
    """In the time that was set, whatever it is owed."""
    rows = b'{"fahrenheit":[' + b"50," * 500_000 + b"50]}"
    with serving(thermometer, "--answer-timeout-seconds", "1", "--keep-alive-seconds", "1") as running:
        running.until_ready()
        teach(running)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = running.url.removeprefix("http://").split(":")
            connection.connect((host, int(port)))
            connection.sendall(head % len(rows) + rows)
            assert is_established(connection)
            running.until(lambda _: not is_established(connection))


GONE = 6000
# A quarter of what as many connections took that kept their timer after a reset.
KEPT_KIB = GONE // 2


@HEADS
def test_who_has_gone_leaves_nothing(thermometer: Path, head: bytes) -> None:
    """Thousands of connections that are reset after their answer, or before it, take no memory with them."""
    with serving(thermometer) as running:
        running.until_ready()
        teach(running)
        leave(running, head, GONE // 3)  # what an allocator takes once, it takes now
        before = resident_kib(running)
        leave(running, head, GONE)
        assert resident_kib(running) < before + KEPT_KIB


def leave(service: Running, head: bytes, count: int) -> None:
    """Ask, and reset the connection; every fourth time without waiting for the answer."""
    for number in range(count):
        with connected(service) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(head % len(GOOD) + GOOD)
            if number % 4:
                assert receive(connection).startswith(b"HTTP/1.1 200")


def resident_kib(service: Running) -> int:
    """How much memory the service holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{service.process.pid}/status").read_text())
    assert found is not None
    return int(found[1])

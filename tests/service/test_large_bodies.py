"""Large bodies are read in blocks on a thread: they get the answers of small ones, and what they hold is bounded."""

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodies import NOT_PARSEABLE, WRONG_VALUES
from running import Running, publish, serving
from service.problems import Problem
from service.tables.json import SMALL_BODY_BYTES, Columns

JSON = {"content-type": "application/json"}
BLANKS = b" " * (SMALL_BODY_BYTES + 1)
# Of two errors, a large body names the first, and here that is not the one which a small body names.
OTHER_ERROR_FIRST = {
    "a duplicate column, the first one wrong": (422, "/fahrenheit/0"),
    "a lone surrogate in a value": (422, "/fahrenheit/0"),
    "depth 10,000": (422, "/fahrenheit/0"),
    "an unknown column": (422, "/a~1b~0c"),
}


def said(service: Running, body: bytes) -> tuple[int, str | None]:
    """Send a body; return the status and the pointer of the first error."""
    answer = service.client.post("/predict", content=body, headers=JSON)
    return answer.status_code, answer.json().get("errors", [{"pointer": None}])[0]["pointer"]


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("name", [*NOT_PARSEABLE, *WRONG_VALUES])
def test_a_large_body_gets_the_answer_of_a_small_one(service: Running, name: str, place: str) -> None:
    """Blanks that make a body large change neither the status nor the place that the error names."""
    body = NOT_PARSEABLE.get(name) or WRONG_VALUES.get(name, (b"",))[0]
    padded = BLANKS + body if place == "before" else body + BLANKS
    expected = OTHER_ERROR_FIRST.get(name) or said(service, body)
    assert said(service, padded) == expected


def read(columns: Columns, body: bytes) -> list[list[float]] | int:
    """Return the rows of a body, or the status of its problem."""
    try:
        rows: list[list[float]] = columns.from_json(body).tolist()
    except Problem as problem:
        return int(problem.status)
    return rows


VALUES = st.lists(st.floats(-1e6, 1e6) | st.integers(-(10**40), 10**40), max_size=5)
TEXTS = st.builds(
    lambda a, b, indent: json.dumps({"a": a, "b": b}, indent=indent), VALUES, VALUES, st.sampled_from([None, 1])
)


@given(
    text=TEXTS, cut=st.integers(0, 60), put=st.sampled_from(["", ",", "]", "[", "}", '"', "-", "e", ".", "0", "null"])
)
@settings(max_examples=400, deadline=None)
def test_both_readers_agree_on_bodies_with_a_fault_anywhere(text: str, cut: int, put: str) -> None:
    """A mark put anywhere into a table makes both readers read the same rows, or refuse the body."""
    body = (text[:cut] + put + text[cut:]).encode()
    columns = Columns(["a", "b"], 1_000_000)
    small, large = read(columns, body), read(columns, body + BLANKS)
    assert small == large or {small, large} == {400, 422}


def test_a_million_values_are_answered_as_each_is_by_itself(service: Running) -> None:
    """The rows of a large request come back in their order, with the answers that small requests get."""
    values = [round(random.Random(1).uniform(-100, 200), 2) for _ in range(1_000)] * 1_000
    few = service.client.post("/predict", json={"fahrenheit": values[:1_000]}).json()
    many = service.client.post("/predict", json={"fahrenheit": values}).json()
    assert many["predictions"]["celsius"] == pytest.approx(few["predictions"]["celsius"] * 1_000, abs=1e-5)
    assert many["out_of_range"][:3] == few["out_of_range"][:3]
    assert len(many["out_of_range"]) == 1_000 * len(few["out_of_range"])


@pytest.mark.parametrize("wrong", ["true", '"1"', "1e39", "[1]", "NaN"])
@pytest.mark.parametrize("at", [0, 12_345, 999_999])
def test_one_wrong_value_among_a_million_is_named(service: Running, wrong: str, at: int) -> None:
    """The error has the pointer to the value, wherever in the body it stands."""
    values = ["1.25"] * 1_000_000
    values[at] = wrong
    assert said(service, f'{{"fahrenheit":[{",".join(values)}]}}'.encode()) == (422, f"/fahrenheit/{at}")


def test_what_is_not_json_is_named_by_line_and_column(service: Running) -> None:
    """The place of the first fault is counted as an editor counts it."""
    lines = ["1.5,"] * 50_000 + ["1.5x,"] + ["1.5"]
    answer = service.client.post("/predict", content='{"fahrenheit":[\n' + "\n".join(lines) + "]}", headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "the body is not JSON: expected a number at line 50002 column 1"


V2 = {
    "flat": b"[1,2.5,-3e1]",
    "nested": b"[[1],[2.5],[-3e1]]",
    "blanks": b"[ [1 ] ,\n[ 2.5], [3]\t]",
    "a wrong shape": b"[1,2]",
    "no values": b"[]",
    "a text": b'[1,"2",3]',
    "a nested text": b'[[1],[2],["3"]]',
    "a boolean": b"[true,2,3]",
    "null": b"[1,2,null]",
    "an object": b"[1,{},3]",
    "beyond float32": b"[1,2,1e39]",
    "NaN": b"[1,2,NaN]",
    "a missing value": b"[1,,3]",
    "a comma at the end": b"[1,2,3,]",
    "two numbers": b"[1 2,3,4]",
    "a number before its bracket": b"[1[],[2],[3]]",
    "a number behind its bracket": b"[[],[]2,[3]]",
    "a bracket too few": b"[[1],[2],[3]",
    "a bracket too many": b"[1,2,3]]",
    "nested twice": b"[[[1]],[[2]],[[3]]]",
    "unevenly nested": b"[1,[2],3]",
    "a leading zero": b"[01,2,3]",
    "an empty bracket": b"[[1],[],[3]]",
}


@pytest.mark.parametrize("name", V2)
def test_a_large_request_of_the_protocol_is_read_as_a_small_one(service: Running, name: str) -> None:
    """Arrays that are cut out of a large document mean what they mean in a small one."""
    document = (
        b'{"id":"\\"data\\":[1]","inputs":[{"name":"readings","shape":[3,1],"datatype":"FP32","data":%b}]}' % V2[name]
    )
    path = "/v2/models/thermometer/infer"
    small = service.client.post(path, content=document)
    large = service.client.post(path, content=document[:1] + BLANKS + document[1:])
    assert (small.status_code, small.json().get("outputs")) == (large.status_code, large.json().get("outputs"))
    if "is not a number" in small.json().get("error", ""):
        assert large.json() == small.json()


def test_a_document_that_is_large_without_its_data_is_refused(service: Running) -> None:
    """What is no tensor data has its own limit, so that nobody waits for its reading."""
    document = b'{"inputs":[],"more":"%b"}' % (b"x" * 2**20)
    assert service.client.post("/v2/models/thermometer/infer", content=document).status_code == 413


@pytest.fixture(scope="module")
def bounded(thermometer: Path) -> Iterator[Running]:
    """A service that holds a million bytes of bodies, and has four requests at work."""
    limits = ("--max-bytes-in-flight", "1000000", "--max-body-bytes", "1000000", "--max-requests", "4")
    with serving(thermometer, *limits) as running:
        running.until_ready()
        yield running


ASKS_FIRST = "Expect: 100-continue"


def head(size: int, *more: str) -> bytes:
    """Return the head of a prediction with a body of this size, and more header lines."""
    lines = ["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {size}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def table(size: int) -> bytes:
    """Return a good body of exactly this size."""
    return b'{"fahrenheit":[1]}'.ljust(size)


def connected(running: Running, sent: bytes) -> socket.socket:
    """Open a connection and send these bytes."""
    opened = socket.create_connection((running.client.base_url.host, running.client.base_url.port or 80), timeout=30)
    opened.sendall(sent)
    return opened


def upload(running: Running, size: int) -> socket.socket:
    """Begin a body of this size; return when the service waits for the rest."""
    opened = connected(running, head(size, ASKS_FIRST))
    assert b"100" in opened.recv(65536)
    return opened


def status(opened: socket.socket) -> int:
    """Return the status of the answer that comes."""
    return int(opened.recv(65536).split()[1])


def test_a_body_waits_unread_until_there_is_room(bounded: Running) -> None:
    """A body beyond the budget is answered as soon as the one before it is complete, and small ones do not wait."""
    first = upload(bounded, 900_000)
    second = connected(bounded, head(200_000) + table(200_000)[:1000])
    assert bounded.client.post("/predict", json={"fahrenheit": [1]}).status_code == 200
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.recv(1)
    second.setblocking(True)
    first.sendall(table(900_000))
    second.sendall(table(200_000)[1000:])
    assert (status(first), status(second)) == (200, 200)
    first.close()
    second.close()


def test_a_body_for_which_no_room_comes_is_refused_at_its_deadline(bounded: Running) -> None:
    """The refusal says when to come back, and a body that is given up makes room."""
    first = upload(bounded, 900_000)
    refused = bounded.client.post("/predict", content=table(200_000), headers=JSON | {"x-request-timeout-ms": "200"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    first.close()
    bounded.until(lambda client: client.post("/predict", content=table(900_000), headers=JSON).status_code == 200)


def test_a_chunked_body_is_counted_as_it_comes(bounded: Running) -> None:
    """A body that does not say how large it is gets no more than there is."""
    first = upload(bounded, 900_000)
    refused = bounded.client.post("/predict", content=iter([table(150_000), b" " * 50_000]), headers=JSON)
    assert refused.status_code == 503
    first.close()


def test_unread_answers_are_counted(bounded: Running) -> None:
    """What clients do not take of their answers leaves less room for bodies, until they take it or are gone."""
    rows = b'{"fahrenheit":[' + b"1," * 400_000 + b"1]}"
    readers = [connected(bounded, head(len(rows)) + rows) for _ in range(2)]
    refused = JSON | {"x-request-timeout-ms": "100"}
    bounded.until(lambda client: client.post("/predict", content=table(100_000), headers=refused).status_code == 503)
    for reader in readers:
        reader.close()
    bounded.until(lambda client: client.post("/predict", content=table(900_000), headers=JSON).status_code == 200)


def test_uploads_count_as_requests(bounded: Running) -> None:
    """Half-sent bodies of requests whose head is known are at work as others are: the fifth is refused at once."""
    known = head(30_000)
    with connected(bounded, known + table(30_000)) as opened:
        assert status(opened) == 200
    uploads = [connected(bounded, known + b"{") for _ in range(4)]
    bounded.until(lambda client: client.post("/predict", json={"fahrenheit": [1]}).status_code == 503)
    with connected(bounded, known + b"{") as fifth:
        assert status(fifth) == 503
    assert bounded.client.get("/livez").status_code == 200
    for upload in uploads:
        upload.close()
    bounded.until(lambda client: client.post("/predict", json={"fahrenheit": [1]}).status_code == 200)


def test_a_full_queue_refuses_before_the_body_is_sent(tmp_path: Path) -> None:
    """A client that asks first is told at once, and a large body is not taken in vain."""
    publish(tmp_path, "--hidden", "1024,1024", epochs=1)
    with serving(tmp_path, "--max-queue-rows", "50000") as running:
        running.until_ready()
        busy = b'{"fahrenheit":[' + b"1," * 49_999 + b"1]}"
        first = connected(running, head(len(busy)) + busy)
        running.until(
            lambda client: (
                'calibrant_queue_rows{model="thermometer",version="1"} 50000.0' in client.get("/metrics").text
            )
        )
        with connected(running, head(5_000_000, ASKS_FIRST)) as second:
            assert status(second) == 503
        first.close()


def test_a_budget_smaller_than_a_body_is_refused_at_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    """A limit that no body could ever keep is named, with the other one."""
    from service.__main__ import main  # noqa: PLC0415 - the command line, as a person gives it

    assert main(["check", "--max-bytes-in-flight", "1000"]) == 2
    assert "max_bytes_in_flight" in capfd.readouterr().err

"""Arrow streams that lie, are broken, or stand for gigabytes: a 4xx at once, and the next good request works."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forms import ARROW, CSV, JSON, from_arrow, post, to_arrow
from running import Running

MEBIBYTE = 2**20
GOOD = to_arrow(
    pa.table(
        {
            "fahrenheit": pa.array([50.0, 50.0, 68.0]).dictionary_encode(),
            "text": ["a", "b" * 30, None],
            "view": pa.array(["a", "b" * 30, None], pa.string_view()),
            "list": [[1], [2, 3], None],
            "structure": [{"a": 1.5}, None, {"a": 2.5}],
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([1, 2])),
        }
    )
)


@pytest.fixture(autouse=True)
def _the_next_good_request_works(service: Running) -> Iterator[None]:
    yield
    assert post(service, GOOD, ARROW, ARROW).status_code == 200


def refused(service: Running, body: bytes, wanted: str = JSON) -> int:
    """Send it; the answer must be a small problem."""
    response = post(service, body, ARROW, wanted)
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) < 20_000
    assert response.json()["status"] == response.status_code
    return response.status_code


NOT_PARSEABLE = {
    "empty": b"",
    "JSON": b'{"fahrenheit":[50.0]}',
    "CSV": b"fahrenheit\n50.0\n",
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "the file format": b"ARROW1\0\0" + GOOD,
    "a head of two gigabytes": b"\xff\xff\xff\xff\xff\xff\xff\x7f" + GOOD,
    "a head of negative length": b"\xff\xff\xff\xff\xff\xff\xff\xff" + GOOD,
    "an end without a beginning": b"\xff\xff\xff\xff\0\0\0\0",
    "cut off in a head": GOOD[:300],
    "cut off in a body": GOOD[:-200],
}


@pytest.mark.parametrize("name", NOT_PARSEABLE)
def test_what_is_no_stream_is_400(service: Running, name: str) -> None:
    """Whatever lengths it declares."""
    assert refused(service, NOT_PARSEABLE[name]) == 400


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)),
        min_size=1,
        max_size=4,
    ),
    wanted=st.sampled_from([ARROW, CSV, JSON]),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_changed_bytes_never_harm_the_service(service: Running, changes: list[tuple[int, int]], wanted: str) -> None:
    """Each is answered, or refused as the client's fault."""
    body = bytearray(GOOD)
    for place, value in changes:
        body[place] = value
    assert post(service, bytes(body), ARROW, wanted).status_code in {200, 400, 413, 422}


def test_indices_beyond_a_dictionary_are_refused(service: Running) -> None:
    """Also in a column that the network does not see."""
    outside = pa.DictionaryArray.from_arrays(pa.array([0, 7]), pa.array([1.0]), safe=False)
    assert refused(service, to_arrow(pa.table({"fahrenheit": outside}))) == 400
    assert refused(service, to_arrow(pa.table({"fahrenheit": [1.0, 2.0], "other": outside}))) == 400


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_are_refused(service: Running, codec: str) -> None:
    """A few bytes of them are many: a hundred MiB of zeros, here."""
    zeros = pa.table({"fahrenheit": np.zeros(500_000), "other": [bytes(200)] * 500_000})
    body = to_arrow(zeros, compression=codec)
    assert len(body) < 4 * MEBIBYTE
    assert refused(service, body) == 422


def test_dictionaries_that_grow_are_refused(service: Running) -> None:
    """Every delta makes a new and larger one."""
    columns = [pa.array([f"{'x' * size}"] * 2).dictionary_encode() for size in (1, 2)]
    columns[1] = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["x", "xx"]))
    sink = io.BytesIO()
    schema = pa.schema({"fahrenheit": pa.float64(), "other": columns[0].type})
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as stream:
        for column in columns:
            stream.write_batch(pa.RecordBatch.from_arrays([pa.array([1.0, 2.0]), column], schema=schema))
    response = post(service, sink.getvalue(), ARROW)
    assert (response.status_code, "delta" in response.json()["detail"]) == (422, True)


def test_a_category_that_is_terabytes_as_text_is_refused(service: Running) -> None:
    """As CSV; as Arrow it goes back as small as it came."""
    indices = pa.array(np.zeros(1_000_000, dtype=np.int8))
    other = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 5 * MEBIBYTE]))
    body = to_arrow(pa.table({"fahrenheit": indices, "other": other}))
    assert refused(service, body, CSV) == 413
    assert from_arrow(post(service, body, ARROW, ARROW)).num_rows == 1_000_000


@pytest.mark.parametrize("wanted", [ARROW, CSV, JSON])
def test_columns_made_of_the_same_bytes_are_refused(service: Running, wanted: str) -> None:
    """Two thousand columns that are one buffer of 4 MiB would be eight gigabytes."""
    assert refused(service, shared(columns=2000, size=4 * MEBIBYTE), wanted) == 413


def test_columns_that_share_a_little_are_answered(service: Running) -> None:
    """So that it was not the stream's form that was refused above."""
    assert from_arrow(post(service, shared(columns=3, size=8000), ARROW, ARROW))["2"].to_pylist() == ["x" * 8000]


def shared(columns: int, size: int) -> bytes:
    """A stream of one row, whose text columns are all made of the same so many bytes."""
    small = pa.table({"fahrenheit": [50.0], **{str(number): ["x" * 64] for number in range(columns)}})
    body = to_arrow(small)
    start, stop = head(body)
    message, at = body[start:stop], 8
    honest, sharing = [(0, 0), (0, 8)], [(0, 0), (0, 8)]
    for _ in range(columns):
        honest += [(at, 0), (at, 8), (at + 8, 64)]
        sharing += [(8, 0), (8, 8), (16, size)]
        at += 72
    before, after = (b"".join(struct.pack("<qq", *pair) for pair in pairs) for pairs in (honest, sharing))
    message = message.replace(before, after)
    length = struct.pack("<q", at)
    assert (message.count(after), message.count(length)) == (1, 1)
    message = message.replace(length, struct.pack("<q", 16 + size))
    content = struct.pack("<dii", 50.0, 0, size) + b"x" * size
    return body[:start] + message + content + b"\xff\xff\xff\xff\0\0\0\0"


def head(stream: bytes) -> tuple[int, int]:
    """Where the head of a stream's first record batch begins and ends."""
    start = stream.index(b"\xff\xff\xff\xff", 4) + 8
    return start, start + struct.unpack_from("<i", stream, start - 4)[0]


def test_rows_without_bytes_are_counted(service: Running) -> None:
    """A column of a null type takes no room, however many rows it says it has."""
    schema = pa.schema({"fahrenheit": pa.float64(), "nothing": pa.null()})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays([pa.array([50.0]), pa.nulls(1)], schema=schema))
    body = sink.getvalue()
    start, stop = head(body)
    numbers = struct.unpack(f"<{(stop - start) // 8}q", body[start:stop])
    lies = [2**40 if number == 1 else number for number in numbers]
    assert refused(service, body[:start] + struct.pack(f"<{len(lies)}q", *lies) + body[stop:]) == 413


def test_twenty_megabytes_are_413(service: Running) -> None:
    """As for every other body."""
    assert refused(service, GOOD + bytes(20_000_000)) == 413

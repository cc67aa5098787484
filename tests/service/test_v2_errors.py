"""Whatever a client sends below /v2 is answered, or gets exactly one ``error`` that says what is wrong and where."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running import Running, serving
from tensors import DTYPES, INFER, LENGTH, THERMOMETER, Document, binary, error, outputs, request, tensor

NUMBERS = st.floats(-1e6, 1e6, width=32)
GOOD = tensor([50.0, 68.0])


def one_value(text: bytes) -> bytes:
    """A request whose one value is written so."""
    return b'{"inputs":[{"name":"readings","shape":[1,1],"datatype":"FP32","data":[' + text + b"]}]}"


WRONG = {
    "no inputs": ({}, "/inputs"),
    "empty inputs": (request(), "missing"),
    "inputs that are no array": ({"inputs": GOOD}, "/inputs"),
    "an input that is no object": ({"inputs": [1]}, "/inputs/0"),
    "an array": ([GOOD], "object"),
    "a number as id": (request(GOOD, id=3), "/id"),
    "an unknown input": (request(tensor([50.0], name="kelvin")), "fahrenheit"),
    "an input too many": (request(GOOD, tensor([50.0, 68.0], name="fahrenheit")), "readings"),
    "the same input twice": (request(GOOD, GOOD), "same name"),
    "no name": (request({**GOOD, "name": None}), "/inputs/0/name"),
    "no shape": (request({**GOOD, "shape": None}), "/inputs/0/shape"),
    "an empty shape": (request({**GOOD, "shape": []}), "/inputs/0/shape"),
    "a negative dimension": (request(tensor([50.0], [-1, 1])), "/inputs/0/shape/0"),
    "a shape that overflows": (request(tensor([50.0], [2**63, 2**63])), "/inputs/0/shape"),
    "a width beyond 64 bits": (request(tensor([50.0], [1, 10**400])), "/inputs/0/shape"),
    "a dimension below 64 bits": (request(tensor([50.0], [-(10**30), 1])), "/inputs/0/shape/0"),
    "a large number as id": (request(GOOD, id=10**30), "/id"),
    "a large number as name": (request({**GOOD, "name": 10**30}), "/inputs/0/name"),
    "a timeout far below 0": (request(GOOD, parameters={"timeout": -(10**30)}), "/parameters/timeout"),
    "a large number as coverage": (request(GOOD, parameters={"interval": 10**400}), "/parameters/interval"),
    "a size beyond 64 bits": (
        request({**GOOD, "data": None, "parameters": {"binary_data_size": 10**30}}),
        "/inputs/0/parameters/binary_data_size",
    ),
    "an empty shape of much": (request(tensor([], [0, 2**62])), "/inputs/0/shape"),
    "a boolean dimension": (request(tensor([50.0], [True, 1])), "/inputs/0/shape/0"),
    "a dimension with a fraction": (request(tensor([50.0], [1.0, 1])), "/inputs/0/shape/0"),
    "too many features": (request(tensor([1, 2], [1, 2])), "[N, 1]"),
    "three dimensions": (request(tensor([50.0], [1, 1, 1])), "[N, 1]"),
    "seventeen dimensions": (request(tensor([50.0], [1] * 17)), "/inputs/0/shape"),
    "too few values": (request(tensor([50.0], [2, 1])), "has 1 values"),
    "too many values": (request(tensor([50.0] * 3, [2, 1])), "has 3 values"),
    "a wrong nesting": (request(tensor([[50.0, 68.0]], [2, 1])), "nested"),
    "a ragged nesting": (request(tensor([[50.0], 68.0], [2, 1])), "nested"),
    "a deep nesting": (request(tensor([[[50.0]], [[68.0]]], [2, 1])), "nested"),
    "a number in a string": (request(tensor([50.0, "68"])), "/inputs/0/data/1 is not a number"),
    "a boolean": (request(tensor([[50.0], [True]])), "/inputs/0/data/1/0 is not a number"),
    "null": (request(tensor([None, 1])), "/inputs/0/data/0 is not a number"),
    "an object": (request(tensor([1, {}])), "/inputs/0/data/1 is not a number"),
    "data that is no array": (request({**GOOD, "data": 50.0}), "/inputs/0/data"),
    "no data": (request({**GOOD, "data": None}), "/inputs/0"),
    "beyond float32": (request(tensor([1, -3.5e38])), "/inputs/0/data/1 is not finite"),
    "a whole number beyond float32": (request(tensor([[1], [10**40]])), "/inputs/0/data/1/0 is not finite"),
    "a whole number beyond float64": (request(tensor([1, -(10**400)])), "/inputs/0/data/1 is not finite"),
    "beyond its type": (request(tensor([1, 128], datatype="INT8")), "/inputs/0/data/1 is not finite"),
    "beyond INT64": (request(tensor([1, 2**63], datatype="INT64")), "/inputs/0/data/1 is not finite"),
    "below INT64": (request(tensor([1, -(2**64)], datatype="INT64")), "/inputs/0/data/1 is not finite"),
    "beyond UINT64": (request(tensor([[1], [2**64]], datatype="UINT64")), "/inputs/0/data/1/0 is not finite"),
    "negative, unsigned": (request(tensor([1, -1], datatype="UINT64")), "/inputs/0/data/1 is not finite"),
    "beyond FP16": (request(tensor([70000], datatype="FP16")), "/inputs/0/data/0 is not finite"),
    "a fraction of an integer": (request(tensor([1, 1.5], datatype="INT32")), "/inputs/0/data/1 is not a whole"),
    "a string behind a large number": (request(tensor([10**30, "1"])), "/inputs/0/data/1 is not a number"),
    "strings": (request(tensor(["a"], datatype="BYTES")), "/inputs/0/datatype"),
    "booleans": (request(tensor([True], datatype="BOOL")), "/inputs/0/datatype"),
    "an unknown datatype": (request(tensor([1], datatype="fp32")), "/inputs/0/datatype"),
    "an unknown output": (request(GOOD, outputs=[{"name": "middle"}]), "out_of_range, lower, upper, celsius"),
    "the same output twice": (request(GOOD, outputs=[{"name": "celsius"}] * 2), "twice"),
    "an output without a name": (request(GOOD, outputs=[{}]), "/outputs/0/name"),
    "binary_data that is no boolean": (
        request(GOOD, outputs=[{"name": "celsius", "parameters": {"binary_data": 1}}]),
        "/outputs/0/parameters/binary_data",
    ),
    "binary_data_output that is no boolean": (request(GOOD, parameters={"binary_data_output": "yes"}), "/parameters"),
    "parameters that are no object": (request(GOOD, parameters=[]), "/parameters"),
    "a negative timeout": (request(GOOD, parameters={"timeout": -1}), "/parameters/timeout"),
    "a timeout in a string": (request(GOOD, parameters={"timeout": "5"}), "/parameters/timeout"),
    "bytes that are not there": (request({**GOOD, "data": None, "parameters": {"binary_data_size": 8}}), "0 bytes"),
    "both data and bytes": (request({**GOOD, "parameters": {"binary_data_size": 8}}), "either"),
    "a negative size": (request({**GOOD, "data": None, "parameters": {"binary_data_size": -8}}), "binary_data_size"),
}  # fmt: skip
NOT_JSON = {
    "empty": b"",
    "cut off": b'{"inputs":[',
    "NaN": one_value(b"NaN"),
    "Infinity": one_value(b"-Infinity"),
    "NaN behind a large number": one_value(b"1" + b"0" * 30 + b",NaN"),
    "Infinity behind a large number": one_value(b"1e999,Infinity"),
    "a large number with leading zeros": one_value(b"0" + b"1" * 30),
    "a large number with a plus": one_value(b"+" + b"1" * 30),
    "a large number with a bare dot": one_value(b"1" * 30 + b"."),
    "a large number with two exponents": one_value(b"1" * 30 + b"e5e5"),
    "a large number with a bare exponent": one_value(b"1" * 30 + b"e+"),
    "a large number in hexadecimal": one_value(b"0x" + b"1" * 30),
    "a large number with underscores": one_value(b"1" * 30 + b"_" + b"1" * 30),
    "thousands of numbers beyond float64": one_value(b"1e999," * 2_000 + b"1"),
    "dots and digits": one_value(b"1." * 20_000 + b"1e999"),
    "signs": one_value(b"1e999," + b"-+" * 20_000),
    "a string without an end, behind a large number": one_value(b"1" * 30 + b',"' + b'\\"' * 20_000),
    "invalid UTF-8": b'{"id":"\xff","inputs":[]}',
    "a lone surrogate": b'{"id":"\\ud800","inputs":[]}',
    "two documents": b"{}{}",
    "depth 100,000": b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_400_and_named(both: Running, name: str) -> None:
    """The message says where; and the next good request works."""
    document, where = WRONG[name]
    assert where in error(both.client.post(INFER, json=document), 400)
    assert both.client.post(INFER, json=request(GOOD)).status_code == 200


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json_is_400(both: Running, name: str) -> None:
    """NaN and Infinity are not."""
    assert "JSON" in error(both.client.post(INFER, content=NOT_JSON[name]), 400)


def test_a_key_given_twice_is_400(both: Running) -> None:
    """Nobody could say which of them was meant; nor are thousands of keys looked through."""
    assert "twice" in error(both.client.post(INFER, content=b'{"inputs":[],"inputs":[]}'), 400)
    assert "keys" in error(both.client.post(INFER, json={str(key): 1 for key in range(100_000)}), 400)


def with_bytes(size: int, datatype: str = "FP32") -> Document:
    """A request whose tensor of two rows has so many bytes behind it."""
    return request({**GOOD, "data": None, "datatype": datatype, "parameters": {"binary_data_size": size}})


@pytest.mark.parametrize(
    ("document", "rest", "where"),
    [
        (with_bytes(8), b"1234567", "7 bytes"),
        (with_bytes(8), b"123456789", "9 bytes"),
        (with_bytes(7), b"1234567", "7 bytes"),
        (with_bytes(2**62), b"12345678", "8 bytes"),
        (with_bytes(8, "FP64"), b"12345678", "8 bytes"),
        (with_bytes(8), np.array([1, np.nan], "<f4").tobytes(), "value 1"),
        (with_bytes(16, "FP64"), np.array([1e39, 1], "<f8").tobytes(), "value 0"),
        (with_bytes(4, "FP16"), np.array([1, np.inf], "<f2").tobytes(), "value 1"),
    ],
)
def test_wrong_bytes_are_400(both: Running, document: Document, rest: bytes, where: str) -> None:
    """Too few, too many, not finite, beyond float32."""
    header = json.dumps(document).encode()
    headers = {LENGTH: str(len(header))}
    assert where in error(both.client.post(INFER, content=header + rest, headers=headers), 400)


@pytest.mark.parametrize("length", ["-1", "x", "", "1e2", "99999", "9" * 5000, "+2", "0x2", "2, 2"])
def test_a_wrong_header_length_is_400(both: Running, length: str) -> None:
    """It is a number of bytes, and there are so many."""
    response = both.client.post(INFER, content=b"{}", headers={LENGTH: length})
    assert LENGTH in error(response, 400)


@pytest.mark.parametrize(
    "document",
    [
        request(GOOD, parameters={"sequence_id": 3, "sequence_start": True, "sequence_end": False}),
        request({**GOOD, "data": None, "parameters": {"shared_memory_region": "a", "shared_memory_byte_size": 8}}),
        request(GOOD, outputs=[{"name": "celsius", "parameters": {"shared_memory_region": "a"}}]),
        request(GOOD, outputs=[{"name": "celsius", "parameters": {"classification": 3}}]),
    ],
)
def test_extensions_that_are_not_there_are_501(both: Running, document: Document) -> None:
    """An option that is not there must not seem to work."""
    assert "extension" in error(both.client.post(INFER, json=document), 501)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v2/nope", 404), ("GET", "/v2/models/nope", 404), ("GET", "/v2/models/nope/ready", 404),
     ("GET", THERMOMETER + "/versions/9", 404), ("GET", THERMOMETER + "/versions/²/ready", 404),
     ("POST", THERMOMETER + "/versions/nope/infer", 404), ("POST", "/v2/models/nope/infer", 404),
     ("GET", "/v2/models/nope/stats", 404), ("GET", THERMOMETER + "/config", 404), ("GET", INFER, 405),
     ("POST", "/v2", 405), ("DELETE", THERMOMETER, 405), ("GET", "/v2/models/..%2F..%2Fetc", 404),
     ("GET", "/v2?x=1", 400), ("GET", THERMOMETER + "/ready?x=1", 400), ("GET", "/v2/systemsharedmemory/status", 404)],
)  # fmt: skip
def test_other_paths_and_methods(both: Running, method: str, path: str, status: int) -> None:
    """Routing errors below /v2 have the protocol's form too."""
    error(both.client.request(method, path), status)


def test_limits_hold(both: Running) -> None:
    """Bytes and rows are 413, compressed bodies 415."""
    assert "16777216" in error(both.client.post(INFER, content=b" " * 20_000_000), 413)
    for count in (1_000_001, 2**63, 2**64, 10**30, 10**400):
        many = request({**GOOD, "data": [], "shape": [count, 1]})
        assert "1000000" in error(both.client.post(INFER, json=many), 413)
    assert "1000000" in error(both.client.post(INFER, content=bytes(4_000_004), headers={LENGTH: "0"}), 413)
    error(both.client.post(INFER, content=b"{}", headers={"content-encoding": "gzip"}), 415)
    error(both.client.post("/v2/repository/index", content=b"{}", headers={"content-encoding": "deflate"}), 415)


def test_deadlines_hold(both: Running) -> None:
    """The parameter's microseconds and the header's milliseconds: 504, and 0 microseconds are none."""
    error(both.client.post(INFER, json=request(GOOD, parameters={"timeout": 1})), 504)
    assert both.client.post(INFER, json=request(GOOD, parameters={"timeout": 0})).status_code == 200
    for microseconds in (2**63, 2**64, 10**30, 10**400):
        document = request(GOOD, parameters={"timeout": microseconds})
        assert both.client.post(INFER, json=document).status_code == 200
    for value, status in (("10000", 200), ("0", 400), ("x", 400)):
        headers = {"x-request-timeout-ms": value}
        assert both.client.post(INFER, json=request(GOOD), headers=headers).status_code == status


def test_a_full_queue_is_503_with_retry_after(thermometer: Path) -> None:
    """As on /predict; and it is counted as a failure."""
    with serving(thermometer, "--max-queue-rows", "10") as running:
        running.until_ready()
        response = running.client.post(INFER, json=request(tensor([1.0] * 11)))
        assert "full" in error(response, 503)
        assert int(response.headers["retry-after"]) >= 1
        for path in ("/predict", "/predict"):
            assert running.client.post(path, json={"fahrenheit": [1.0] * 11}).status_code == 503
        stats = running.client.get(THERMOMETER + "/stats").json()["model_stats"][0]["inference_stats"]
        assert (stats["fail"]["count"], stats["success"]["count"]) == (3, 0)


def test_millions_of_errors_are_answered_briefly(both: Running) -> None:
    """An error is small, whatever it is about."""
    too_large = 413  # without its data, a document is small
    for status, body in (
        (400, json.dumps(request(tensor([True] * 1_000_000))).encode()),
        (400, json.dumps(request(tensor([[1]] * 999_999 + [[None]]))).encode()),
        (too_large, json.dumps(request(GOOD, outputs=[{"name": "x"}] * 500_000)).encode()),
        (too_large, json.dumps({"inputs": [1] * 1_000_000}).encode()),
        (too_large, json.dumps(request({**GOOD, "shape": [1] * 1_000_000})).encode()),
        (too_large, json.dumps(request({**GOOD, "name": "x" * 5_000_000})).encode()),
        (too_large, json.dumps(request(GOOD, parameters={"k" * 5_000_000: 1, "timeout": "x"})).encode()),
        (400, json.dumps(request(tensor([10**40] * 200_000))).encode()),
        (400, one_value(b"1e999," * 200_000 + b"1")),
        (400, one_value(b"1" * 5_000_000)),
        (400, one_value(b"1" * 30 + b',"' + b'\\"' * 2_000_000 + b'"')),
    ):
        response = both.client.post(INFER, content=body)
        assert len(error(response, status)) < 1000


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
DIMENSIONS = st.sampled_from([0, 1, 2, 3, -1, 2**31, 2**63, 2**64, 1.5, "1", None, True])
INPUTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["readings", "fahrenheit", "x", ""]) | ANY_JSON,
        "shape": st.lists(DIMENSIONS, max_size=4) | ANY_JSON,
        "datatype": st.sampled_from([*DTYPES, "BOOL", "BYTES", "BF16"]) | ANY_JSON,
        "data": st.lists(NUMBERS | st.lists(NUMBERS, max_size=3), max_size=4) | ANY_JSON,
    },
    optional={
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "shared_memory_region"]), ANY_JSON)
        | st.builds(lambda size: {"binary_data_size": size}, st.integers(0, 20)),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS, max_size=3) | ANY_JSON},
    optional={
        "id": ANY_JSON,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["celsius", "predictions", "x"])}))
        | ANY_JSON,
        "parameters": st.dictionaries(st.sampled_from(["timeout", "binary_data_output", "x"]), ANY_JSON) | ANY_JSON,
    },
)


@given(document=REQUESTS | ANY_JSON, rest=st.binary(max_size=20), length=st.none() | st.integers(-1, 300))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_nothing_gets_a_500(both: Running, document: object, rest: bytes, length: int | None) -> None:
    """Whatever the body is, and wherever its JSON is said to end: an answer, or an error in the protocol's form."""
    header = json.dumps(document).encode()
    for headers in ({}, {LENGTH: str(len(header) if length is None else length)}):
        response = both.client.post(INFER, content=header + rest, headers=headers)
        if response.status_code == 200:
            outputs(response)
        else:
            assert response.status_code in {400, 413, 501, 504}
            error(response, response.status_code)


@given(dtype=st.sampled_from(["FP16", "FP32", "FP64"]), content=st.binary(max_size=64))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bits_are_finite_or_refused(both: Running, dtype: str, content: bytes) -> None:
    """Every pattern of bits is a number within float32, whose prediction comes back, or a 400."""
    size = np.dtype(DTYPES[dtype]).itemsize
    values = np.frombuffer(content[: len(content) // size * size], DTYPES[dtype])
    body, headers = binary(request(tensor([], [len(values), 1], datatype=dtype)), values)
    response = both.client.post(INFER, content=body, headers=headers)
    with np.errstate(over="ignore"):
        good = bool(np.isfinite(values.astype(np.float32)).all())
    assert response.status_code == (200 if good else 400)

"""A number is read whole, and in one way, wherever a client may write one: headers, paths, queries and bodies."""

import json
import socket

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from running import Running
from tensors import INFER, LENGTH, THERMOMETER, Document, error, outputs, request, tensor

JSON = {"content-type": "application/json"}
TABLE = {"fahrenheit": [50.0]}
DEADLINE = "x-request-timeout-ms"
# What some readers take for a whole number, and HTTP does not.
NO_NUMBERS = [
    "",
    "+5000",
    "-5000",
    "5_000",
    "0x1388",
    "5e3",
    "5000.0",
    "5,000",
    "5 000",
    "\u0665\u0660\u0660\u0660",
    "\uff15\uff10\uff10\uff10",
    "²",
    "nan",
    "x",
]
VERSIONS = [
    "000000000000000000012", "01", "0", "00", "+1", "-1", " 1", "1 ", "1.0", "1e0", "0x1", "1_0", "\u0661",
    "\uff11", "²", "1\n", "1\x00", "9" * 18, "9" * 19, "9" * 5000, "1" + "0" * 20, "0" * 20 + "1", "",
]  # fmt: skip
VERSION_PATHS = [
    ("GET", "/models/thermometer/versions/{}"),
    ("GET", "/models/thermometer/versions/{}/parameters"),
    ("GET", "/models/thermometer/versions/{}/report"),
    ("POST", "/models/thermometer/versions/{}/predict"),
    ("POST", "/models/thermometer/versions/{}/predict?interval=0.9"),
    ("POST", "/models/thermometer/versions/{}/activations"),
    ("GET", THERMOMETER + "/versions/{}/ready"),
    ("GET", THERMOMETER + "/versions/{}/stats"),
    ("POST", THERMOMETER + "/versions/{}/infer"),
]


def sent(service: Running, path: str, headers: dict[str, str]) -> httpx.Response:
    """A good prediction with more headers, whose values are sent as UTF-8."""
    document: Document = request(tensor([50.0])) if path.startswith("/v2") else TABLE
    raw = {name.encode(): value.encode() for name, value in {**JSON, **headers}.items()}
    return service.client.post(path, content=json.dumps(document).encode(), headers=raw)


@pytest.mark.parametrize("path", ["/predict", "/predict?interval=0.9", INFER])
def test_a_deadline_is_read_whole(service: Running, path: str) -> None:
    """Leading zeros do not change a deadline, a huge one is the setting's, and what is not a number is refused."""
    for text in ("10000", "00010000", "0" * 500 + "10000", "9" * 25, "9" * 5000):
        assert sent(service, path, {DEADLINE: text}).status_code == 200, text
    for text in (*NO_NUMBERS, "0", "0" * 30):
        response = sent(service, path, {DEADLINE: text})
        assert response.status_code == (400 if path.startswith("/v2") else 422), text
        assert DEADLINE in response.text


def test_a_header_length_is_read_whole(service: Running) -> None:
    """Leading zeros do not change the length of the JSON, and what is not a number of bytes is refused."""
    whole = json.dumps(request(tensor([50.0]))).encode()
    for zeros in (1, 18, 19, 20, 21, 300):
        response = service.client.post(INFER, content=whole, headers={LENGTH: "0" * zeros + str(len(whole))})
        assert outputs(response)["predictions"].shape == (1, 1), zeros
    for text in (*NO_NUMBERS, "0" * 30 + "99999", "9" * 5000):
        response = service.client.post(INFER, content=whole, headers={LENGTH.encode(): text.encode()})
        assert LENGTH in error(response, 400), text


def status_of(service: Running, path: str, length: str, body: bytes) -> int:
    """The status of a request that states this Content-Length, whatever its body has."""
    host, port = service.url.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("path", ["/predict", "/predict?interval=0.9", "/activations", INFER])
def test_a_content_length_is_read_whole(service: Running, path: str) -> None:
    """Leading zeros do not hide a body that is too large, which is refused before any of its bytes has come."""
    body = json.dumps(request(tensor([50.0])) if path == INFER else TABLE).encode()
    for zeros in (0, 20, 500) * 2:
        assert status_of(service, path, "0" * zeros + str(len(body)), body) == 200, zeros
        assert status_of(service, path, "0" * zeros + "20000000", b"") == 413, zeros
    for text in NO_NUMBERS:
        assert status_of(service, path, text, body) == 400, text


@pytest.mark.parametrize(("method", "path"), VERSION_PATHS)
def test_a_version_has_one_spelling(service: Running, method: str, path: str) -> None:
    """Every path answers 1 for version 1, and 404 for every other way to write that number."""
    body = json.dumps(request(tensor([50.0])) if path.startswith("/v2") else TABLE).encode()
    assert service.client.request(method, path.format(1), content=body, headers=JSON).status_code == 200
    for version in VERSIONS:
        spelling = "".join(f"%{byte:02X}" for byte in version.encode())
        response = service.client.request(method, path.format(spelling), content=body, headers=JSON)
        assert response.status_code == 404, version


@pytest.mark.parametrize("path", ["/predict?interval=", "/models/thermometer/predict?interval="])
def test_a_coverage_is_a_decimal_number(service: Running, path: str) -> None:
    """A coverage may be written with an exponent, and in no way that only Python reads."""
    for text in ("0.9", "0.90", "00.9", ".9", "9e-1", "90E-2"):
        assert service.client.post(path + text, json=TABLE).status_code == 200, text
    for text in (
        "",
        "%2B0.9",
        "%200.9",
        "-0.9",
        "0_0.9",
        "0x0.9",
        "nan",
        "inf",
        "1e999",
        "0,9",
        "%D9%A0.%D9%A9",
        "9/10",
    ):
        response = service.client.post(path + text, json=TABLE)
        assert response.status_code == 422, text
        assert response.json()["errors"][0]["pointer"] == "query: interval"


@pytest.mark.parametrize("path", ["/predict", "/activations", "/parameters"])
@pytest.mark.parametrize("weight", ["nan", "inf", "1e999", "1_0", "+1", "-1", "0x1", "1.1", "2", "\u0665", "", "1e0"])
def test_a_weight_that_is_none_accepts_nothing(service: Running, path: str, weight: str) -> None:
    """A form whose weight in `Accept` is not a number from 0 to 1 is not acceptable."""
    accept = f"application/json;q={weight}".encode()
    body = json.dumps(TABLE).encode()
    for method in ["GET"] if path == "/parameters" else ["POST"] * 2:
        headers = {b"accept": accept, b"content-type": b"application/json"}
        assert service.client.request(method, path, content=body, headers=headers).status_code == 406


# The same value in every form of a body

DIGITS = st.integers(-(10**45), 10**45).map(str)
SPELLINGS = st.one_of(
    DIGITS,
    st.integers(-(2**66), 2**66).map(str),
    st.builds(lambda digits, exponent: f"{digits}e{exponent}", st.integers(-(10**30), 10**30), st.integers(-400, 400)),
    st.builds(lambda whole, part: f"{whole}.{part}", DIGITS, st.integers(0, 10**40)),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from([1, -1]).flatmap(lambda sign: st.integers(300, 420).map(lambda count: str(sign * 10**count))),
)


def bodies(spelling: str, more: int) -> list[tuple[str, str, str]]:
    """The same rows in every form, first that value and then so many others: the path, the media type and the body."""
    values = [spelling, *["50.0"] * more]
    shape = f'"name":"readings","shape":[{len(values)},1]'
    data = f'"data":[{",".join(values)}]'
    return [
        ("/predict", "application/json", f'{{"fahrenheit":[{",".join(values)}]}}'),
        ("/predict", "text/csv", "\n".join(["fahrenheit", *values])),
        *((INFER, "", f'{{"inputs":[{{{shape},"datatype":"{datatype}",{data}}}]}}') for datatype in ("FP32", "FP64")),
    ]


def answered(service: Running, path: str, media_type: str, body: str) -> tuple[object, object] | None:
    """The first row's prediction and whether it is out of range; None where that row is refused, and named."""
    headers = {"content-type": media_type, "accept": "application/json"}
    response = service.client.post(path, content=body, headers=headers)
    document = response.json()
    if response.status_code != 200:
        assert response.status_code == (400 if path == INFER else 422), response.text
        assert any(place in response.text for place in ("/fahrenheit/0", "line 2,", "/inputs/0/data/0")), response.text
        return None
    if path == INFER:
        predictions, flags = (output["data"] for output in document["outputs"])
        return predictions[0], flags[0]
    return document["predictions"]["celsius"][0], 0 in document["out_of_range"]


@given(spelling=SPELLINGS)
@example(spelling="1" + "0" * 30)
@example(spelling="1" + "0" * 40)
@example(spelling="1" + "0" * 400)
@example(spelling=str(2**64))
@example(spelling=str(-(2**63) - 1))
@example(spelling=str(2**60 + 2**36 + 1))
@example(spelling="1e999")
@example(spelling="-1e0000000000999")
@example(spelling="1e-999")
@example(spelling="-0")
@example(spelling="0e999")
@example(spelling="0." + "0" * 60 + "1e60")
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_value_is_the_same_number_in_every_form(service: Running, spelling: str) -> None:
    """JSON, CSV and the Open Inference Protocol give one answer to one spelling, or all of them refuse it."""
    for more in (0, 100):  # a few rows and many are not read by the same code
        first, *others = [answered(service, *body) for body in bodies(spelling, more)]
        assert others == [first] * len(others)

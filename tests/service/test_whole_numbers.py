"""Numbers in headers, paths and documents are read to the last digit, or refused: no digit is cut off."""

import json
import struct

import pytest

from running import Running
from tensors import INFER

JSON = {"content-type": "application/json"}
BODY = {"fahrenheit": [50.0]}
NO_NUMBERS = ["", "+1", "-1", "1 2", "1_0", "0x1", "1e2", "1.0", "\u0661", "one"]


@pytest.mark.parametrize(
    "number", ["01", "0" * 20 + "1", "0" * 5000 + "1", "+1", "1.0", "1e0", "%20", "1%20", "%D9%A1", "0", "1" * 5000]
)
@pytest.mark.parametrize(
    "path", ["/models/thermometer/versions/{}/predict", "/v2/models/thermometer/versions/{}/infer"]
)
def test_a_version_has_one_spelling(service: Running, path: str, number: str) -> None:
    """Whatever is not the number as it is published names no version."""
    assert service.client.post(path.format(number), json=BODY).status_code == 404
    assert service.client.get(f"/models/thermometer/versions/{number}").status_code == 404


@pytest.mark.parametrize("milliseconds", ["5000", "0005000", "9" * 19, "9" * 5000, "0" * 30 + "5000"])
def test_a_deadline_is_read_whole(service: Running, milliseconds: str) -> None:
    """Leading zeros change nothing, and a huge deadline is the longest that the service allows."""
    headers = {"x-request-timeout-ms": milliseconds}
    assert service.client.post("/predict", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("milliseconds", [*NO_NUMBERS, "0", "0" * 30])
def test_a_deadline_that_is_no_number_is_refused(service: Running, milliseconds: str) -> None:
    """The error names the header."""
    headers = [(b"x-request-timeout-ms", milliseconds.encode())]
    answer = service.client.post("/predict", json=BODY, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "header: x-request-timeout-ms")


def tensor(count: int) -> tuple[bytes, bytes]:
    """Return the JSON and the bytes of a request of this length."""
    whole = {"name": "readings", "shape": [count, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4 * count}}
    return json.dumps({"inputs": [whole]}).encode(), struct.pack(f"<{count}f", *range(count))


@pytest.mark.parametrize("zeros", [0, 1, 18, 19, 20, 40, 4000])
def test_the_length_of_a_header_is_read_whole(service: Running, zeros: int) -> None:
    """Leading zeros of the JSON's length do not make other bytes into values."""
    header, values = tensor(26)
    headers = {"inference-header-content-length": "0" * zeros + str(len(header))}
    answer = service.client.post(INFER, content=header + values, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["shape"] == [26, 1]


@pytest.mark.parametrize("length", [*NO_NUMBERS, "9" * 30, "1000"])
def test_a_length_that_the_body_does_not_have_is_refused(service: Running, length: str) -> None:
    """The error names the header, and no value is made of the bytes."""
    header, values = tensor(3)
    headers = [(b"inference-header-content-length", length.encode())]
    answer = service.client.post(INFER, content=header + values, headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize("quality", ["nan", "inf", "1e1", "1_0", "+1", "0x1", "2", "1.0000", ""])
def test_a_weight_that_is_none_counts_as_zero(service: Running, quality: str) -> None:
    """An `Accept` with a weight of another form does not choose what is answered."""
    accept = f"text/csv;q={quality}, application/json;q=0.5"
    answer = service.client.post("/predict", json=BODY, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"


BIG = [2**63, 2**64 - 1, 2**64, -(2**64), 10**20, 10**30, -(10**38), 123456789012345678901234567890]


@pytest.mark.parametrize("value", BIG)
def test_long_whole_numbers_are_one_value_on_every_route(service: Running, value: int) -> None:
    """JSON by columns, CSV, and the protocol's JSON, small and large, give one prediction."""
    plain = service.client.post("/predict", content=f'{{"fahrenheit":[{value}]}}', headers=JSON).json()
    text = {"content-type": "text/csv", "accept": "application/json"}
    assert service.client.post("/predict", content=f"fahrenheit\n{value}\n", headers=text).json() == plain
    for blanks in ("", " " * 70_000):
        document = f'{{{blanks}"inputs":[{{"name":"readings","shape":[1,1],"datatype":"FP32","data":[{value}]}}]}}'
        outputs = service.client.post(INFER, content=document).json()["outputs"]
        assert outputs[0]["data"] == plain["predictions"]["celsius"]


@pytest.mark.parametrize(
    "value", ["1" + "0" * 39, "-1" + "0" * 39, "9" * 400, "9" * 5000, "1e39", "1e400", "-1.5e999", "1" * 400 + ".5"]
)
def test_numbers_beyond_float32_are_named(service: Running, value: str) -> None:
    """The protocol's error says which value of which input."""
    for blanks in ("", " " * 70_000):
        document = f'{{{blanks}"inputs":[{{"name":"readings","shape":[2,1],"datatype":"FP32","data":[1,{value}]}}]}}'
        answer = service.client.post(INFER, content=document)
        assert answer.status_code == 400
        assert "/inputs/0/data/1 is not finite, or beyond" in answer.json()["error"]


def test_long_numbers_elsewhere_are_what_they_are(service: Running) -> None:
    """In texts and in keys that are not read they change nothing; a shape of them is refused by its place."""
    good = '{"name":"readings","shape":[1,1],"datatype":"FP32","data":[1]}'
    document = f'{{"id":"1{"0" * 30}","more":[1{"0" * 30}],"inputs":[{good}]}}'
    assert service.client.post(INFER, content=document).json()["id"] == "1" + "0" * 30
    shape = service.client.post(INFER, content=f'{{"inputs":[{good.replace("1,1", "1" + "0" * 30 + ",1")}]}}')
    assert shape.status_code == 413
    assert "more rows" in shape.json()["error"]


@pytest.mark.parametrize("text", ['"' + '\\\\"' * 30_000, "1" * 60_000 + ".", "-" * 60_000, '"' * 60_001])
def test_hostile_texts_are_refused_quickly(service: Running, text: str) -> None:
    """Looking for long numbers takes no longer where there are none."""
    answer = service.client.post(INFER, content=f'{{"inputs":[{text}', timeout=5)
    assert answer.status_code == 400


@pytest.mark.parametrize("value", ["3.4028235e38", "-3.4028235e+38", "340282346638528859811704183484516925440"])
def test_the_largest_float32_is_taken_as_it_is_written(service: Running, value: str) -> None:
    """A number that an answer holds can be sent back on every route."""
    plain = service.client.post("/predict", content=f'{{"fahrenheit":[{value}]}}', headers=JSON)
    assert plain.status_code == 200
    text = {"content-type": "text/csv", "accept": "application/json"}
    assert service.client.post("/predict", content=f"fahrenheit\n{value}\n", headers=text).json() == plain.json()
    padded = f'{{"fahrenheit":[{value}]}}' + " " * 70_000
    assert service.client.post("/predict", content=padded, headers=JSON).json() == plain.json()
    document = f'{{"inputs":[{{"name":"readings","shape":[1,1],"datatype":"FP32","data":[{value}]}}]}}'
    outputs = service.client.post(INFER, content=document).json()["outputs"]
    assert outputs[0]["data"] == plain.json()["predictions"]["celsius"]


@pytest.mark.parametrize("digits", [400, 4299, 4300, 5000])
def test_a_number_of_many_digits_is_named_as_others_are(service: Running, digits: int) -> None:
    """How many digits Python reads is no limit of the service."""
    answer = service.client.post("/predict", content=f'{{"fahrenheit":[1,{"9" * digits}]}}', headers=JSON)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/fahrenheit/1")

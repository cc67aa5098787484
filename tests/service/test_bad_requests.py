"""Whatever a client sends gets a 4xx problem that says what is wrong and where; and the next good request works."""

import json
from collections.abc import Iterator

import pytest

from bodies import GOOD, NOT_PARSEABLE, WRONG_VALUES
from running import Running

JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def _the_next_good_request_works(service: Running) -> Iterator[None]:
    yield
    assert service.client.post("/predict", content=GOOD, headers=JSON).status_code == 200


def check_problem(service: Running, body: bytes, status: int, path: str = "/predict") -> dict[str, object]:
    """Send it, and check that the answer is a valid problem with this status."""
    response = service.client.post(path, content=body, headers=JSON)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = json.loads(response.content, parse_constant=pytest.fail)
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= set(problem)
    return problem


@pytest.mark.parametrize("path", ["/predict", "/activations"])
@pytest.mark.parametrize("name", NOT_PARSEABLE)
def test_what_is_not_json_is_400(service: Running, name: str, path: str) -> None:
    """Not parseable: there is no place in it that an error could point at."""
    assert "errors" not in check_problem(service, NOT_PARSEABLE[name], 400, path)


@pytest.mark.parametrize("path", ["/predict", "/activations"])
@pytest.mark.parametrize("name", WRONG_VALUES)
def test_wrong_values_are_422_with_a_pointer(service: Running, name: str, path: str) -> None:
    """The pointer leads to the bad value."""
    body, pointer = WRONG_VALUES[name]
    errors = check_problem(service, body, 422, path)["errors"]
    assert pointer in [error["pointer"] for error in errors]  # type: ignore[attr-defined]


def test_every_bad_value_of_a_small_body_is_named(service: Running) -> None:
    """All at once, so that nobody has to try again and again."""
    problem = check_problem(service, b'{"fahrenheit":[1,"x",2,true,null]}', 422)
    pointers = [error["pointer"] for error in problem["errors"]]  # type: ignore[attr-defined]
    assert pointers == ["/fahrenheit/1", "/fahrenheit/3", "/fahrenheit/4"]


def test_bodies_of_millions_of_errors_are_answered_briefly(service: Running) -> None:
    """An error document is small, whatever it is about."""
    for body in (
        b'{"fahrenheit":[' + b"true," * 1_000_000 + b"true]}",
        b"{" + b",".join(b'"%x":1' % number for number in range(500_000)) + b"}",
        b'{"a":' * 100_000,
        b'{"' + b"k" * 1_000_000 + b'":[1]}',
    ):
        response = service.client.post("/predict", content=body, headers=JSON)
        assert response.status_code == 422
        assert len(response.content) < 20_000


@pytest.mark.parametrize("chunked", [False, True])
def test_twenty_megabytes_are_413(service: Running, chunked: bool) -> None:
    """Whether the length is declared or not; the connection stays usable."""
    body = b'{"fahrenheit":[' + b" " * 20_000_000 + b"50]}"
    pieces = iter([body[at : at + 65536] for at in range(0, len(body), 65536)])
    response = service.client.post("/predict", content=pieces if chunked else body, headers=JSON)
    assert response.status_code == 413
    assert response.json()["type"].endswith("too-large")


def test_too_many_rows_are_413(service: Running) -> None:
    """The limit is named."""
    body = b'{"fahrenheit":[' + b"1," * 1_000_000 + b"1]}"
    assert "1000000" in str(check_problem(service, body, 413)["detail"])


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""]
)
def test_other_content_types_are_415(service: Running, content_type: str | None) -> None:
    """What cannot be read is refused, with what can be."""
    headers = {} if content_type is None else {"content-type": content_type}
    response = service.client.post("/predict", content=GOOD, headers=headers)
    assert response.status_code == 415
    assert response.headers["accept-post"].split(", ")[0] == "application/json"


def test_compressed_bodies_are_415(service: Running) -> None:
    """They are not guessed at."""
    response = service.client.post("/predict", content=GOOD, headers={**JSON, "content-encoding": "gzip"})
    assert response.status_code == 415


def test_json_with_parameters_is_json(service: Running) -> None:
    """A charset, and capitals, change nothing."""
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert service.client.post("/predict", content=GOOD, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [("*/*", 200), ("application/*;q=0.1", 200), ("text/html, application/json;q=0.5", 200), ("image/png", 406),
     ("application/json;q=0", 406), ("application/json;q=x", 406), ("application/json;q=0, */*", 200)],
)  # fmt: skip
def test_accept_is_honoured(service: Running, accept: str, status: int) -> None:
    """What the client does not accept is not sent."""
    response = service.client.post("/predict", content=GOOD, headers={**JSON, "accept": accept})
    assert response.status_code == status


def test_unknown_query_parameters_are_refused(service: Running) -> None:
    """An option that is not there must not seem to work."""
    response = service.client.post("/predict?intervals=0.9", content=GOOD, headers=JSON)
    assert response.status_code == 422
    assert "intervals" in response.json()["errors"][0]["pointer"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nope", 404), ("GET", "/models/nope", 404), ("GET", "/models/thermometer/versions/2", 404),
     ("GET", "/models/thermometer/versions/²/report", 404), ("GET", "/models/thermometer/versions/0", 404),
     ("GET", "/models/..%2F..%2Fetc/versions/1", 404), ("GET", "/parameters/nope", 404), ("GET", "/predict", 405),
     ("DELETE", "/models", 405), ("GET", "/parameters?values=perhaps", 422)],
)  # fmt: skip
def test_other_paths_and_methods(service: Running, method: str, path: str, status: int) -> None:
    """Routing errors are problems too."""
    response = service.client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


def test_a_client_that_hangs_up_while_sending_is_forgotten(service: Running) -> None:
    """Half a body, then nothing: no error, and the service goes on."""
    import socket  # noqa: PLC0415

    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
        )

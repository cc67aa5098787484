"""Keys: who has none that is good gets the same 401 everywhere, through every door, and learns nothing else."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keys import ADMIN_KEY, API_KEY, WITH_KEY, admin_keys, api_keys, line
from running import Running, serving_through_each_door
from service.__main__ import main
from service.client import Client, Unauthorized

PROBES = {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
TABLE = {"fahrenheit": [50.0]}
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
KEY, ADMIN = API_KEY.encode(), ADMIN_KEY.encode()

GOOD = [b"Bearer " + KEY, b"bearer " + KEY, b"BEARER   " + KEY, b"Bearer " + ADMIN]
BAD = [
    b"", b"Bearer", b"Bearer nobodys", b"Basic " + KEY, b"Token " + KEY, KEY, b"Bearer" + KEY, b"Bearer\t" + KEY,
    b"Bearer " + KEY[:-1], b"Bearer " + KEY + b"x", b"Bearer " + KEY.upper(), b"Bearer " + KEY + b" x",
    b"Bearer x " + KEY, b"Bearer " + KEY + b"," + KEY, b'Bearer "' + KEY + b'"', b"Bearer " + KEY + b"\xe9",
    b"Bearer \xff\xfe", b"Bearer " + b"x" * 30_000, b"Bearer " + hashlib.sha256(KEY).hexdigest().encode(),
    b"Bearer " + bytes(byte for byte in hashlib.sha256(KEY).digest() if byte > 127), b"Bearer\xa0" + KEY,
]  # fmt: skip


@pytest.fixture(scope="module")
def services(thermometer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    """One with each door, all with the same keys."""
    folder = tmp_path_factory.mktemp("keys")
    flags = [*api_keys(folder), *admin_keys(folder)]
    with serving_through_each_door(thermometer, tmp_path_factory.mktemp("route-only"), *flags) as three:
        yield three


@pytest.fixture(scope="module")
def guarded(services: list[Running]) -> Running:
    """The one with the fast door."""
    return services[0]


def check_refused(response: httpx.Response) -> None:
    """The one answer that there is."""
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    if response.request.method != "HEAD":
        assert response.json()["type"] == "urn:problem-type:calibrant:unauthorized"
        assert response.json()["detail"] == "this wants a key that is good for it: send `Authorization: Bearer KEY`"


def predict(service: Running, *sent: bytes) -> httpx.Response:
    """A plain prediction with these Authorization headers."""
    headers = [(b"authorization", value) for value in sent]
    return service.client.post("/predict", json=TABLE, headers=headers)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every method and path template, and a path that it stands for."""
    names = {"model": "thermometer", "version": "1", "name": "hidden_linear.weight"}
    for template, found in document["paths"].items():
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda name: names[name[1]], template)
        yield from ((method.upper(), template, path) for method in found)


def test_every_operation_but_the_probes_wants_a_key(services: list[Running]) -> None:
    """All that are in the document, which says so itself; and only administration is refused with an API key."""
    for service in services:
        document = service.client.get("/openapi.json", headers=WITH_KEY).json()
        found = list(operations(document))
        assert len(found) > 20
        for method, template, path in found:
            secured = document["paths"][template][method.lower()].get("security")
            if path in PROBES:
                assert service.client.request(method, path).status_code == 200
                assert not secured
                continue
            refused = service.client.request(method, path)
            assert (refused.status_code, secured) == (401, [{"key": []}]), path
            assert refused.json().keys() == (
                {"error"} if path.startswith("/v2") else {"type", "title", "status", "detail"}
            )
            administers = template.startswith("/v2/repository/models/")
            assert (service.client.request(method, path, headers=WITH_KEY).status_code == 401) is administers, path


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/page/page.js", "/page/swagger-ui-bundle.js", "/nope", "/models/nope/predict",
     "/livez/", "//livez", "/livez/../models", "/livez%2f..%2fmodels", "/metrics%00", "/LIVEZ", "/v2x"],
)  # fmt: skip
def test_what_is_at_a_path_is_not_told(services: list[Running], path: str) -> None:
    """Neither the page nor a 404 or a 405 without a key; nor by what looks like a probe."""
    for service in services:
        for method in METHODS:
            for headers in (
                {},
                {"authorization": "Bearer nobodys"},
                {"origin": "http://y", "cookie": f"key={API_KEY}"},
            ):
                url = httpx.URL(service.url).copy_with(raw_path=path.encode())
                check_refused(service.client.send(httpx.Request(method, url, headers={"host": "x", **headers})))
        check_refused(service.client.get("/models", params={"key": API_KEY, "access_token": API_KEY}))


@pytest.mark.parametrize("sent", GOOD)
def test_a_good_key_is_let_in(services: list[Running], sent: bytes) -> None:
    """However its scheme is written; an admin key too; also where the fast door knows the request."""
    for service in services:
        for _ in range(3):
            assert predict(service, sent).json()["predictions"]["celsius"]
            assert service.client.get("/models", headers=[(b"authorization", sent)]).status_code == 200
        check_refused(predict(service))


@pytest.mark.parametrize("sent", BAD)
def test_a_bad_key_is_refused(services: list[Running], sent: bytes) -> None:
    """In each way in which it can be bad; also when it is sent again, and beside good ones on the same connection."""
    for service in services:
        for _ in range(3):
            assert predict(service, GOOD[0]).status_code == 200
            check_refused(predict(service, sent))
            check_refused(service.client.get("/models", headers=[(b"authorization", sent)]))


@pytest.mark.parametrize("sent", [[GOOD[0], GOOD[0]], [GOOD[0], b"Bearer x"], [b"Bearer x", GOOD[0]], [b"", GOOD[0]]])
def test_two_keys_are_none(services: list[Running], sent: list[bytes]) -> None:
    """Which of them a proxy looked at cannot be known."""
    for service in services:
        for _ in range(2):
            check_refused(predict(service, *sent))


def test_a_body_is_not_waited_for(services: list[Running]) -> None:
    """Who has no key is answered at once, and the next request on the connection as ever."""

    def body() -> Iterator[bytes]:
        yield b"x" * 100_000

    for service in services:
        check_refused(service.client.post("/predict", content=body()))
        check_refused(service.client.post("/predict", content=b"x" * 20_000_000))
        assert predict(service, GOOD[0]).status_code == 200


def test_errors_of_v2_are_the_protocols(services: list[Running]) -> None:
    """The same text, in its form."""
    for service in services:
        for path in ("/v2", "/v2/nope", "/v2/models/thermometer/infer"):
            response = service.client.post(path, json={})
            assert response.status_code == 401
            assert response.json() == {
                "error": "this wants a key that is good for it: send `Authorization: Bearer KEY`"
            }


def test_a_browser_is_asked_for_the_key(guarded: Running) -> None:
    """By the same page at every path, with a policy that names its one script; with the key it gets what is there."""
    pages = [guarded.client.get(path, headers={"accept": BROWSER}) for path in ("/", "/docs", "/nope", "/models")]
    for page in pages:
        assert page.status_code == 401
        assert page.headers["www-authenticate"] == "Bearer"
        assert page.content == pages[0].content
        assert "'unsafe" not in page.headers["content-security-policy"]
        assert "'self'" not in page.headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
    for path in ("/", "/docs"):
        assert guarded.client.get(path, headers={"accept": BROWSER, **WITH_KEY}).status_code == 200
    check_refused(guarded.client.post("/predict", headers={"accept": BROWSER}))


def test_refusals_are_counted(guarded: Running) -> None:
    """As problems, under no route."""
    guarded.client.get("/models")
    metrics = guarded.client.get("/metrics").text
    assert 'calibrant_problems_total{kind="unauthorized"}' in metrics
    assert 'route="/models",status="401"' not in metrics


def test_the_client_comes_in_with_a_key(guarded: Running) -> None:
    """And is told where it has none that is good."""
    with Client(guarded.url, API_KEY) as client:
        assert client.predict(TABLE)["celsius"]
    for key in (None, "nobodys"):
        with Client(guarded.url, key) as client, pytest.raises(Unauthorized):
            client.predict(TABLE)


def test_the_predict_command_comes_in_with_a_key(guarded: Running, tmp_path: Path) -> None:
    """Which it takes from the environment."""
    readings = tmp_path / "readings.csv"
    readings.write_text("fahrenheit\n50\n")
    command = [sys.executable, "-m", "service", "predict", str(readings), "--url", guarded.url]
    for key, expected in ((API_KEY, 0), ("nobodys", 1)):
        environment = {**os.environ, "CALIBRANT_API_KEY": key}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == expected, ended.stderr


@pytest.mark.parametrize(
    ("content", "named"),
    [(line("a") + "b\n", "line 2"), ("a " + "0" * 63, "line 1"), ("a " + "0" * 65, "line 1"),
     ("a " + "g" * 64, "line 1"), ("0" * 64, "line 1"), (f"a b {'0' * 64}", "line 1"),
     (line("a") + "\n#\n" + line("a")[:-2], "line 4"),
     ("a \xff" + "0" * 63, "line 1"), ("", "no key"), ("# a\n\n", "no key")],
)  # fmt: skip
@pytest.mark.parametrize("flag", ["--api-keys-file", "--admin-keys-file"])
def test_a_bad_file_of_keys_ends_with_status_2(
    tmp_path: Path, flag: str, content: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the file and its line, and shows nothing of it."""
    file = tmp_path / "keys"
    file.write_bytes(content.encode("latin-1"))
    assert main(["serve", "--artifacts", str(tmp_path), flag, str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert str(file) in error
    assert named in error
    assert "00000" not in error


@pytest.mark.parametrize("missing", ["missing", "."])
def test_a_file_of_keys_that_cannot_be_read_ends_with_status_2(
    tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a service that is open to all."""
    assert main(["serve", "--artifacts", str(tmp_path), "--api-keys-file", str(tmp_path / missing)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_key_command_makes_a_key_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The key apart from the line, another one each time."""
    made = set()
    for _ in range(2):
        assert main(["key", "alice@example.org"]) == 0
        found = capsys.readouterr()
        key = found.err.strip()
        assert found.out == f"alice@example.org {hashlib.sha256(key.encode()).hexdigest()}\n"
        assert len(key) == 43
        made.add(key)
    assert len(made) == 2
    assert main(["key", "two words"]) == 2

"""Requests of other sites' pages: off unless origins are named, and then with the same answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keys import WITH_KEY, api_keys
from running import Running, serving
from service.__main__ import main

ORIGIN = "https://a.example"
TABLE = {"fahrenheit": [50.0]}
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type",
}


@pytest.fixture(scope="module")
def shared(thermometer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with keys, whose clients may be pages of two origins."""
    origins = ["--cors-origins", f"http://localhost:3000,{ORIGIN}"]
    with serving(thermometer, *origins, *api_keys(tmp_path_factory.mktemp("keys"))) as running:
        running.until_ready()
        yield running


def test_a_page_of_a_named_origin_may_ask(shared: Running) -> None:
    """Each time, also where the fast door knows the request without its origin; another's may not read the answer."""
    for _ in range(3):
        assert shared.client.post("/predict", json=TABLE, headers=WITH_KEY).status_code == 200
        response = shared.client.post("/predict", json=TABLE, headers={**WITH_KEY, "origin": ORIGIN})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in response.headers
        other = shared.client.post("/predict", json=TABLE, headers={**WITH_KEY, "origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_preflight_needs_no_key(shared: Running) -> None:
    """A browser sends none with it; everything else still wants one."""
    allowed = shared.client.options("/predict", headers=PREFLIGHT)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    refused = shared.client.options("/predict", headers={**PREFLIGHT, "origin": "https://b.example"})
    assert "access-control-allow-origin" not in refused.headers
    assert shared.client.options("/nope", headers=PREFLIGHT).headers.keys() == allowed.headers.keys()
    assert shared.client.options("/predict", headers={"origin": ORIGIN}).status_code == 401
    assert shared.client.post("/predict", json=TABLE, headers=PREFLIGHT).status_code == 401


def test_without_the_setting_an_origin_changes_nothing(service: Running) -> None:
    """No header more, and no preflight."""
    with_origin = service.client.post("/predict", json=TABLE, headers={"origin": ORIGIN})
    without = service.client.post("/predict", json=TABLE)
    assert with_origin.headers.keys() == without.headers.keys()
    assert with_origin.content == without.content
    assert service.client.options("/predict", headers=PREFLIGHT).status_code == 405


@pytest.mark.parametrize(
    "origins", ["", "a.example", "https://a.example/", "https://a.example, https://b.example", "*,*"]
)
def test_what_is_no_origin_is_status_2(origins: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the setting."""
    assert main(["serve", "--cors-origins", origins]) == 2
    assert capsys.readouterr().err.startswith("error: cors_origins: ")

"""Loading and unloading by Triton's repository extension: for administrators, and never with files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keys import WITH_ADMIN_KEY, WITH_KEY, admin_keys, api_keys
from running import Running, publish, serving

LOAD, UNLOAD = (f"/v2/repository/models/thermometer/{action}" for action in ("load", "unload"))
TABLE = {"fahrenheit": [50.0]}


@pytest.fixture
def administered(tmp_path: Path) -> Iterator[Running]:
    """A service of two versions, open to all but for its administration."""
    for _ in range(2):
        publish(tmp_path / "artifacts")
    with serving(tmp_path / "artifacts", *admin_keys(tmp_path)) as running:
        running.until(lambda client: states(running) == {"1": "ready", "2": "ready"})
        yield running


def states(running: Running) -> dict[str, str]:
    """Each version's state."""
    models = running.client.get("/models").json()["models"]
    return {version["version"]: version["state"] for model in models for version in model["versions"]}


def test_an_unloaded_model_is_out_of_service_until_it_is_loaded(administered: Running) -> None:
    """Everywhere at once: predictions, readiness, the index; nor does the next look at the folder bring it back."""
    client = administered.client
    before = client.post("/predict", json=TABLE).json()
    unloaded = client.post(UNLOAD, headers=WITH_ADMIN_KEY)
    assert (unloaded.status_code, unloaded.content) == (200, b"")
    publish(administered.artifacts)
    administered.until(lambda _: states(administered) == dict.fromkeys("123", "unloaded"))
    for _ in range(3):
        refused = client.post("/predict", json=TABLE)
        assert refused.status_code == 503
        assert "the model was unloaded" in refused.json()["detail"]
    assert client.post("/models/thermometer/versions/1/predict", json=TABLE).status_code == 503
    assert client.get("/readyz").status_code == 503
    assert client.get("/v2/models/thermometer/ready").status_code == 503
    index = client.post("/v2/repository/index").json()
    assert [(version["state"], version["reason"]) for version in index] == [
        ("UNAVAILABLE", "the model was unloaded")
    ] * 3
    assert client.get("/v2/models/stats").status_code == 200
    assert client.get("/models/thermometer/versions/1").json()["manifest"] is None
    assert client.post(LOAD, headers=WITH_ADMIN_KEY).status_code == 200
    assert states(administered) == dict.fromkeys("123", "ready")
    assert client.post("/models/thermometer/versions/2/predict", json=TABLE).json() == before


def test_load_looks_at_the_folder_now(tmp_path: Path) -> None:
    """What was published is there when it has answered."""
    publish(tmp_path / "artifacts")
    with serving(tmp_path / "artifacts", "--refresh-seconds", "2", *admin_keys(tmp_path)) as running:
        running.until_ready()
        for number in "23":
            publish(running.artifacts)
            assert running.client.post(LOAD, headers=WITH_ADMIN_KEY).status_code == 200
            assert states(running)[number] == "ready"


def test_load_says_why_a_model_does_not_go_live(tmp_path: Path) -> None:
    """503 with the version's reason; a model that is not there is 404."""
    publish(tmp_path / "artifacts")
    (tmp_path / "artifacts/thermometer/1/report.json").write_text("{}")
    with serving(tmp_path / "artifacts", *admin_keys(tmp_path)) as running:
        running.until(lambda client: states(running) == {"1": "failed"})
        response = running.client.post(LOAD, headers=WITH_ADMIN_KEY)
        assert response.status_code == 503
        assert "report.json" in response.json()["error"]
        for path in (LOAD, UNLOAD):
            missing = path.replace("thermometer", "nope")
            assert running.client.post(missing, headers=WITH_ADMIN_KEY).status_code == 404


def test_only_an_administrator_may(administered: Running, tmp_path: Path) -> None:
    """Whoever else asks learns nothing of the model either; an API key is not enough."""
    with serving(administered.artifacts, *api_keys(tmp_path), *admin_keys(tmp_path)) as keyed:
        keyed.until_ready()
        for running in (administered, keyed):
            for path in (LOAD, UNLOAD, LOAD + "?x=1", LOAD.replace("thermometer", "nope")):
                for headers in ({}, WITH_KEY, {"authorization": "Bearer nobodys"}):
                    response = running.client.post(path, headers=headers, content=b"nonsense")
                    assert response.status_code == 401
                    assert response.headers["www-authenticate"] == "Bearer"
                    assert response.json().keys() == {"error"}
            assert running.client.post("/predict", json=TABLE, headers=WITH_KEY).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [(LOAD, b"", 200), (LOAD, b"{}", 200), (LOAD, b'{"parameters":{}}', 200),
     (LOAD, b'{"parameters":{"config":"{}"}}', 501),
     (LOAD, b'{"parameters":{"file:1/model.pt":"eA=="}}', 501),
     (LOAD, b'{"parameters":{"unload_dependents":true}}', 501),
     (LOAD, b'{"parameters":[]}', 400), (LOAD, b"[]", 400), (LOAD, b"\xff", 400), (LOAD, b"x" * 70_000, 413),
     (UNLOAD, b'{"parameters":{"file:1/model.pt":"eA=="}}', 501),
     (UNLOAD, b'{"parameters":{"unload_dependents":true}}', 200)],
)  # fmt: skip
def test_a_request_brings_no_files(both_administered: Running, path: str, body: bytes, expected: int) -> None:
    """What Triton's own clients send by default is taken; a configuration or a file never."""
    response = both_administered.client.post(path, content=body, headers=WITH_ADMIN_KEY)
    assert response.status_code == expected
    assert both_administered.client.post(LOAD, headers=WITH_ADMIN_KEY).status_code == 200


@pytest.fixture(scope="module")
def both_administered(thermometer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with administration, which each test leaves as it was."""
    with serving(thermometer, *admin_keys(tmp_path_factory.mktemp("keys"))) as running:
        running.until_ready()
        yield running


def test_the_extension_is_named_where_it_is_there(both_administered: Running, service: Running) -> None:
    """In the protocol's metadata and in the API's document; else in neither."""
    for running, there in ((both_administered, True), (service, False)):
        assert ("model_repository" in running.client.get("/v2").json()["extensions"]) is there
        paths = running.client.get("/openapi.json").json()["paths"]
        assert ("/v2/repository/models/{model}/load" in paths) is there
    assert service.client.post(LOAD, headers=WITH_ADMIN_KEY).status_code == 501

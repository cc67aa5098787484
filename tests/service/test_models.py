"""What is published, what of it serves, and how that changes without a restart."""

import shutil
from pathlib import Path

import httpx

from running import publish, serving
from training.__main__ import main as train

SECONDS = 2.5  # the promise is two; the rest is for a busy machine's load of the new version


def answering(client: httpx.Client, path: str = "/predict") -> str | None:
    """The version that answers at a path, None while none does."""
    response = client.post(path, json={"fahrenheit": [50.0]})
    return response.json()["version"] if response.status_code == 200 else None


def label(artifacts: Path, name: str, version: int) -> None:
    """Move a label."""
    assert train(["label", "thermometer", name, str(version), "--artifacts", str(artifacts)]) == 0


def test_without_a_model_it_lives_and_says_how_to_get_one(tmp_path: Path) -> None:
    """Live, not ready; 503 with Retry-After; and the first model goes live by itself."""
    with serving(tmp_path / "artifacts") as running:
        client = running.client
        assert client.get("/livez").status_code == 200
        running.until(lambda client: "cannot be read" in client.get("/readyz").json()["detail"])
        (tmp_path / "artifacts").mkdir()
        running.until(lambda client: "python -m training fit" in client.get("/readyz").json()["detail"])
        for response in (
            client.get("/readyz"),
            client.post("/predict", json={"fahrenheit": [1.0]}),
            client.get("/parameters"),
            client.get("/report"),
            client.get("/models/thermometer"),
        ):
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            assert response.json()["type"].endswith("unavailable")
        assert client.get("/models").json() == {"models": [], "error": None, "warnings": []}
        assert client.get("/openapi.json").status_code == 200
        publish(tmp_path / "artifacts")
        running.until_ready()
        assert answering(client) == "1"


def test_versions_and_labels_are_followed(tmp_path: Path) -> None:
    """New versions and moved labels within two seconds; the champion answers, else the highest version."""
    publish(tmp_path)
    with serving(tmp_path) as running:
        running.until_ready()
        publish(tmp_path)
        running.until(lambda client: answering(client) == "2", SECONDS)
        label(tmp_path, "champion", 1)
        running.until(lambda client: answering(client) == "1", SECONDS)
        label(tmp_path, "candidate", 2)
        running.until(
            lambda client: answering(client, "/models/thermometer/versions/candidate/predict") == "2", SECONDS
        )
        model = running.client.get("/models/thermometer").json()
        assert model["default_version"] == "1"
        assert model["labels"] == {"champion": "1", "candidate": "2"}
        assert [(version["version"], version["state"]) for version in model["versions"]] == [
            ("1", "ready"),
            ("2", "ready"),
        ]
        detail = running.client.get("/models/thermometer/versions/2").json()
        assert detail["labels"] == ["candidate"]
        assert detail["manifest"]["features"][0]["name"] == "fahrenheit"
        assert detail["manifest"]["features"][0]["unit"] == "degF"
        label(tmp_path, "champion", 2)
        running.until(lambda client: answering(client) == "2", SECONDS)


def test_a_broken_version_leaves_the_old_one_serving(tmp_path: Path) -> None:
    """It is listed with its reason, is a 503 when asked for, and even the champion's label does not make it answer."""
    publish(tmp_path)
    publish(tmp_path)
    broken = tmp_path / "thermometer" / "3"
    shutil.copytree(tmp_path / "thermometer" / "2", broken)
    (broken / "network.pt").write_bytes(b"not a network")
    label(tmp_path, "champion", 1)
    with serving(tmp_path) as running:
        running.until_ready()
        running.until(lambda client: client.get("/models/thermometer/versions/3").json()["state"] == "failed")
        version = running.client.get("/models/thermometer/versions/3").json()
        assert "network.pt" in version["reason"]
        assert version["manifest"] is None
        assert running.client.post("/models/thermometer/versions/3/predict", json={}).status_code == 503
        label(tmp_path, "champion", 3)
        running.until(lambda client: client.get("/models/thermometer").json()["labels"] == {"champion": "3"}, SECONDS)
        assert answering(running.client) == "1"
        assert running.client.get("/readyz").status_code == 200


def test_only_broken_versions_are_live_and_not_ready(tmp_path: Path) -> None:
    """The reason is in the answer of the readiness probe."""
    publish(tmp_path)
    (tmp_path / "thermometer" / "1" / "manifest.json").write_text("{}")
    with serving(tmp_path) as running:
        running.until(lambda client: "manifest.json" in client.get("/readyz").json()["detail"])
        assert running.client.get("/livez").status_code == 200
        assert answering(running.client) is None


def test_a_version_that_is_spoiled_or_removed_while_it_serves(tmp_path: Path) -> None:
    """Spoiled files do not reach what is in memory; a removed version gives way to the one below."""
    publish(tmp_path)
    publish(tmp_path)
    with serving(tmp_path) as running:
        running.until_ready()
        (tmp_path / "thermometer" / "2" / "network.pt").write_bytes(b"spoiled")
        path = "/models/thermometer/versions/2"
        running.until(lambda client: client.get(path).json()["reason"] is not None)
        assert running.client.get(path).json()["state"] == "ready"
        assert answering(running.client) == "2"
        shutil.rmtree(tmp_path / "thermometer" / "2")
        running.until(lambda client: answering(client) == "1", SECONDS)
        assert running.client.get(path).status_code == 404


def test_several_models_side_by_side(tmp_path: Path) -> None:
    """Each answers by its name; the first that was published is the default, and stays it."""
    publish(tmp_path)
    with serving(tmp_path) as running:
        running.until_ready()
        publish(tmp_path, "--model", "other")
        running.until(lambda client: answering(client, "/models/other/predict") == "1", SECONDS)
        assert answering(running.client, "/models/thermometer/predict") == "1"
        assert running.client.post("/predict", json={"fahrenheit": [1.0]}).json()["model"] == "thermometer"
        assert [model["name"] for model in running.client.get("/models").json()["models"]] == ["other", "thermometer"]
    with serving(tmp_path, environment={"CALIBRANT_DEFAULT_MODEL": "other"}) as running:
        running.until_ready()
        assert running.client.post("/predict", json={"fahrenheit": [1.0]}).json()["model"] == "other"


def test_with_several_models_and_no_default_each_is_asked_by_name(tmp_path: Path) -> None:
    """A folder put together by hand: it is ready when all are, and nothing is guessed."""
    publish(tmp_path)
    publish(tmp_path, "--model", "other")
    (tmp_path / "default_model.txt").unlink()
    with serving(tmp_path) as running:
        running.until_ready()
        assert answering(running.client, "/models/other/predict") == "1"
        response = running.client.post("/predict", json={"fahrenheit": [1.0]})
        assert response.status_code == 404
        assert "other, thermometer" in response.json()["detail"]


def test_the_report_is_what_training_wrote(tmp_path: Path) -> None:
    """Byte for byte, at the three paths."""
    publish(tmp_path)
    written = (tmp_path / "thermometer" / "1" / "report.json").read_bytes()
    with serving(tmp_path, "--default-model", "thermometer") as running:
        running.until_ready()
        for prefix in ("", "/models/thermometer", "/models/thermometer/versions/1"):
            assert running.client.get(f"{prefix}/report").content == written


def test_a_default_model_that_is_missing_is_not_ready(tmp_path: Path) -> None:
    """Not whatever else is there: the operator named one."""
    publish(tmp_path)
    with serving(tmp_path, "--default-model", "other") as running:
        running.until(lambda client: client.get("/models/thermometer").status_code == 200)
        running.until(lambda client: "other" in client.get("/readyz").json()["detail"])
        assert running.client.post("/predict", json={"fahrenheit": [1.0]}).status_code == 503

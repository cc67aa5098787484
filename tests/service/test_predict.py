"""POST /predict: right answers, in the documented form."""

from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from running import Running, publish, serving
from service import artifact

TABLE = {"fahrenheit": [50.0, 68.0, 212.0]}
ELEVEN = [f"x{number}" for number in range(11)]


def in_memory(artifacts: Path, model: str, rows: list[list[float]]) -> np.ndarray:
    """What the published network gives when it is called right here."""
    network = artifact.read(artifacts / model / "1").network
    with torch.inference_mode():
        outputs: np.ndarray = network(torch.tensor(rows)).numpy()
    return outputs


def test_answers_with_model_version_and_predictions_by_target(service: Running) -> None:
    """The answer is the one that the documentation shows, and flags the row outside the training range."""
    response = service.client.post("/predict", json=TABLE)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["model", "version", "predictions", "out_of_range"]
    assert (body["model"], body["version"], body["out_of_range"]) == ("thermometer", "1", [2])
    expected = in_memory(service.artifacts, "thermometer", [[value] for value in TABLE["fahrenheit"]])
    np.testing.assert_allclose(body["predictions"]["celsius"], expected[:, 0], rtol=1e-6, atol=1e-6)


def test_the_range_seen_in_training_is_not_out_of_range(service: Running) -> None:
    """Both ends of the range are inside it; the next float32 is not."""
    ends = [21.8, 81.9, float(np.nextafter(np.float32(81.9), np.float32(100)))]
    assert service.client.post("/predict", json={"fahrenheit": ends}).json()["out_of_range"] == [2]


def test_no_rows_in_no_rows_out(service: Running) -> None:
    """An empty table is a table."""
    body = service.client.post("/predict", json={"fahrenheit": []}).json()
    assert body["predictions"] == {"celsius": []}
    assert body["out_of_range"] == []


def test_numbers_have_the_fewest_digits_that_read_back_as_the_same_float32(service: Running) -> None:
    """No digit is invented: 17 digits of a float32 would claim what it does not know."""
    text = service.client.post("/predict", json={"fahrenheit": [50.0]}).text
    number = text.partition('"celsius":[')[2].partition("]")[0]
    assert number == str(np.float32(number))


@pytest.mark.parametrize("path", ["/predict", "/models/thermometer/predict", "/models/thermometer/versions/1/predict"])
def test_three_paths_lead_to_the_same_version(service: Running, path: str) -> None:
    """The default, a model's default, and a version by number give the same answer."""
    assert service.client.post(path, json=TABLE).json() == service.client.post("/predict", json=TABLE).json()


def test_every_answer_says_how_long_it_waited_and_ran(service: Running) -> None:
    """Server-Timing has the wait and the model's time, in milliseconds."""
    timing = service.client.post("/predict", json=TABLE).headers["server-timing"]
    parts = dict(part.strip().split(";dur=") for part in timing.split(","))
    assert list(parts) == ["wait", "model"]
    assert all(float(milliseconds) >= 0 for milliseconds in parts.values())


def test_a_request_id_is_echoed_or_made(service: Running) -> None:
    """A sensible id comes back; a missing or dangerous one is replaced by one that is unique."""
    assert service.client.get("/livez", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {service.client.get("/livez").headers["x-request-id"] for _ in range(3)}
    made.add(service.client.get("/livez", headers={"x-request-id": "a b"}).headers["x-request-id"])
    assert len(made) == 4
    assert all(made)


@pytest.mark.parametrize("hidden", ["0", "13", "8", "5,3"])
def test_served_predictions_equal_the_network_in_memory(tmp_path: Path, hidden: str) -> None:
    """To 1e-6, through a real process, for the linear model, 1-13-1, 1-8-1 and a deeper one."""
    publish(tmp_path, "--hidden", hidden)
    check_equal(tmp_path, "thermometer", ["fahrenheit"])


def test_eleven_features_and_two_targets(tmp_path: Path) -> None:
    """To 1e-6 as well, whatever order the columns come in."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(30, 13)).round(3)
    lines = [",".join([*ELEVEN, "a", "b"]), *(",".join(map(str, row)) for row in values)]
    (tmp_path / "many.csv").write_text("\n".join(lines))
    artifacts = tmp_path / "artifacts"
    publish(artifacts, "--data", str(tmp_path / "many.csv"), "--target", "a", "--target", "b")
    check_equal(artifacts, "many", ELEVEN)


def check_equal(artifacts: Path, model: str, features: list[str]) -> None:
    """Serve, ask for a thousand rows, the columns in reverse, and compare."""
    rows = np.random.default_rng(1).normal(scale=50, size=(1000, len(features))).astype(np.float32)
    table = {name: rows[:, at].tolist() for at, name in reversed(list(enumerate(features)))}
    with serving(artifacts) as running:
        running.until_ready()
        predictions = running.client.post("/predict", json=table).json()["predictions"]
    served = np.array(list(predictions.values())).T
    np.testing.assert_allclose(served, in_memory(artifacts, model, rows.tolist()), rtol=1e-6, atol=1e-6)


def test_a_result_beyond_float32_is_an_error_that_names_the_row(tmp_path: Path) -> None:
    """A linear model pushed past float32 has no finite answer, and says so rather than null."""
    (tmp_path / "steep.csv").write_text("x,y\n0,0\n1,1000\n2,2000\n3,3000\n")
    artifacts = tmp_path / "artifacts"
    publish(artifacts, "--data", str(tmp_path / "steep.csv"), "--hidden", "0", "--learning-rate", "0.1")
    with serving(artifacts) as running:
        running.until_ready()
        response = running.client.post("/predict", json={"x": [1.0, 3.4e38]})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/x/1"]


def test_a_lone_request_is_answered_on_a_new_connection(service: Running) -> None:
    """No state is kept between connections."""
    assert httpx.post(f"{service.url}/predict", json=TABLE).status_code == 200

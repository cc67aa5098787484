"""What was predicted is counted: Triton's statistics, and the metrics."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from running import Running, serving
from tensors import INFER, THERMOMETER, error, request, tensor

GOOD = tensor([50.0, 68.0])


@pytest.fixture
def fresh(thermometer: Path) -> Iterator[Running]:
    """A service that has predicted nothing yet."""
    with serving(thermometer) as running:
        running.until_ready()
        yield running


def only(client: httpx.Client) -> Mapping[str, Any]:
    """The statistics of the only version, the same on every path to them."""
    found = client.get("/v2/models/stats").json()
    assert found == client.get(THERMOMETER + "/stats").json() == client.get(THERMOMETER + "/versions/1/stats").json()
    (statistics,) = found["model_stats"]
    assert (statistics["name"], statistics["version"]) == ("thermometer", "1")
    return dict(statistics)


def test_statistics_add_up(fresh: Running) -> None:
    """Requests, rows and executions through every door; time in the queue and in the model, in nanoseconds."""
    client = fresh.client
    none = only(client)
    assert none["last_inference"] == none["inference_count"] == none["execution_count"] == 0
    assert none["batch_stats"] == []
    for rows in (1, 1, 3):
        assert client.post(INFER, json=request(tensor([50.0] * rows))).status_code == 200
    for _ in range(1100):
        assert client.post("/predict", json={"fahrenheit": [50.0, 68.0]}).status_code == 200
    assert client.post("/predict", json={"fahrenheit": [50.0] * 300}).status_code == 200
    error(client.post(INFER, json=request(GOOD, parameters={"timeout": 1})), 504)
    error(client.post(INFER, json=request()), 400)
    statistics = only(client)
    assert statistics["inference_count"] == 5 + 2200 + 300
    assert statistics["execution_count"] == 3 + 1100 + 1
    stats = statistics["inference_stats"]
    assert list(stats) == [
        "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
    ]  # fmt: skip
    assert stats["success"]["count"] == stats["queue"]["count"] == stats["compute_infer"]["count"] == 1104
    assert abs(stats["success"]["ns"] - stats["queue"]["ns"] - stats["compute_infer"]["ns"]) <= 2
    assert stats["fail"]["count"] == 1
    assert stats["fail"]["ns"] >= 1000
    batches = {batch["batch_size"]: batch["compute_infer"] for batch in statistics["batch_stats"]}
    assert {size: batch["count"] for size, batch in batches.items()} == {1: 2, 2: 1100, 3: 1, 512: 1}
    assert abs(sum(batch["ns"] for batch in batches.values()) - stats["compute_infer"]["ns"]) <= 10


def test_the_last_inference_is_dated(fresh: Running) -> None:
    """In milliseconds since 1970."""
    before = time.time() * 1000
    assert fresh.client.post(INFER, json=request(GOOD)).status_code == 200
    assert before - 5 <= only(fresh.client)["last_inference"] <= time.time() * 1000 + 5


def test_inferences_are_counted_as_predictions_are(fresh: Running) -> None:
    """By route, model and status; their rows, those out of range, and their problems."""
    assert fresh.client.post(INFER, json=request(tensor([50.0, 212.0]))).status_code == 200
    error(fresh.client.post(INFER, json=request()), 400)
    families = text_string_to_metric_families(fresh.client.get("/metrics").text)
    found = {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in families
        for sample in family.samples
    }
    assert found["calibrant_requests_total['/v2/models/{model}/infer', '200', 'thermometer']"] == 1
    assert found["calibrant_requests_total['/v2/models/{model}/infer', '400', 'thermometer']"] == 1
    assert found["calibrant_problems_total['wrong-values']"] == 1
    assert found["calibrant_rows_total['1', 'thermometer']"] == 2
    assert found["calibrant_out_of_range_rows_total['1', 'thermometer']"] == 1

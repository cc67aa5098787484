"""GET /metrics counts what happened, whichever door it came through."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from running import Running, serving

DOCS = Path(__file__).parent.parent.parent / "docs" / "metrics.md"
GOOD = {"fahrenheit": [50.0, 212.0]}


@pytest.fixture(scope="module", params=["fast door", "portable door"])
def fresh(request: pytest.FixtureRequest, thermometer: Path) -> Iterator[Running]:
    """A service that has counted nothing yet but its own probes."""
    with serving(thermometer, "--fast-door", str(request.param == "fast door")) as running:
        running.until_ready()
        yield running


def samples(client: httpx.Client) -> dict[str, float]:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in families
        for sample in family.samples
    }


def test_predictions_and_problems_are_counted(fresh: Running) -> None:
    """Requests by status, rows, rows out of range, batches, and problems by kind."""
    for _ in range(5):
        assert fresh.client.post("/predict", json=GOOD).status_code == 200
    assert fresh.client.post("/predict", json={"fahrenheit": ["x"]}).status_code == 422
    assert fresh.client.post("/predict?x=1", json=GOOD).status_code == 422
    assert fresh.client.post("/models/thermometer/predict?", json=GOOD).status_code == 200
    csv = {"content-type": "text/csv", "accept": "text/csv"}
    assert fresh.client.post("/models/thermometer/predict", content="fahrenheit\n50\n", headers=csv).status_code == 200
    assert fresh.client.get("/models/thermometer/report").status_code == 200
    assert fresh.client.get("/nope/1").status_code == 404
    found = samples(fresh.client)
    assert found["calibrant_requests_total['/predict', '200', 'thermometer']"] == 5
    assert found["calibrant_requests_total['/predict', '422', 'thermometer']"] == 1
    assert found["calibrant_requests_total['/models/{model}/predict', '200', 'thermometer']"] == 2
    assert found["calibrant_requests_total['/models/{model}/report', '200', 'thermometer']"] == 1
    assert found["calibrant_requests_total['', '404', 'other']"] == 1
    assert found["calibrant_problems_total['wrong-values']"] == 2
    assert found["calibrant_problems_total['not-found']"] == 1
    assert found["calibrant_rows_total['thermometer']"] == 13
    assert found["calibrant_out_of_range_rows_total['thermometer']"] == 6
    for histogram in ("queue_seconds", "model_seconds", "batch_rows"):
        assert found[f"calibrant_{histogram}_count['thermometer']"] == 7
    assert found["calibrant_batch_rows_sum['thermometer']"] == 13
    assert found["calibrant_batch_rows_bucket['1.0', 'thermometer']"] == 1
    assert found["calibrant_batch_rows_bucket['2.0', 'thermometer']"] == 7
    assert found["calibrant_request_seconds_count['/predict']"] >= 6


def test_thousands_are_counted_too(fresh: Running) -> None:
    """Not one is lost where they are counted together."""
    before = samples(fresh.client)["calibrant_rows_total['thermometer']"]
    for _ in range(1100):
        fresh.client.post("/predict", json=GOOD)
    assert samples(fresh.client)["calibrant_rows_total['thermometer']"] == before + 2200


def test_every_metric_is_documented(fresh: Running) -> None:
    """And every documented one is there."""
    documented = set(re.findall(r"^\| `(calibrant_\w+)`", DOCS.read_text(), re.MULTILINE))
    families = text_string_to_metric_families(fresh.client.get("/metrics").text)
    assert documented == {family.name + ("_total" if family.type == "counter" else "") for family in families}

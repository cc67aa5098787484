"""GET /metrics counts what happened, whichever door it came through."""

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from running import Running, publish, serving

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
    assert found["calibrant_rows_total['1', 'thermometer']"] == 13
    assert found["calibrant_out_of_range_rows_total['1', 'thermometer']"] == 6
    for histogram in ("queue_seconds", "model_seconds", "batch_rows"):
        assert found[f"calibrant_{histogram}_count['thermometer']"] == 7
    assert found["calibrant_batch_rows_sum['thermometer']"] == 13
    assert found["calibrant_batch_rows_bucket['1.0', 'thermometer']"] == 1
    assert found["calibrant_batch_rows_bucket['2.0', 'thermometer']"] == 7
    assert found["calibrant_request_seconds_count['/predict']"] >= 6


def test_thousands_are_counted_too(fresh: Running) -> None:
    """Not one is lost where they are counted together."""
    before = samples(fresh.client).get("calibrant_rows_total['1', 'thermometer']", 0)
    for _ in range(1100):
        fresh.client.post("/predict", json=GOOD)
    assert samples(fresh.client)["calibrant_rows_total['1', 'thermometer']"] == before + 2200


def test_what_was_refused_is_told_apart(thermometer: Path) -> None:
    """By its kind: a full queue, a deadline, a size, a request that does not come."""
    limits = ["--max-queue-rows", "500000", "--max-body-bytes", "4000000", "--max-head-bytes", "4000"]
    with serving(thermometer, *limits, "--head-timeout-seconds", "0.2") as running:
        running.until_ready()
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nhost: x")
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        many = {"fahrenheit": [50] * 500_001}
        assert running.client.post("/predict", json=many).status_code == 503
        late = {"x-request-timeout-ms": "1"}
        assert running.client.post("/predict", json={"fahrenheit": [50] * 500_000}, headers=late).status_code == 504
        assert running.client.post("/predict", json={"fahrenheit": [50] * 2_000_000}).status_code == 413
        assert running.client.post("/predict", json=GOOD, headers={"x": "x" * 5000}).status_code == 431
        found = samples(running.client)
    for kind in ("receive-timeout", "overloaded", "deadline-passed", "too-large", "head-too-large"):
        assert found[f"calibrant_problems_total['{kind}']"] == 1, kind


def test_every_metric_is_documented(fresh: Running) -> None:
    """And every documented one is there."""
    documented = set(re.findall(r"^\| `((?:calibrant|process)_\w+)`", DOCS.read_text(), re.MULTILINE))
    families = text_string_to_metric_families(fresh.client.get("/metrics").text)
    assert documented == {family.name + ("_total" if family.type == "counter" else "") for family in families}


def test_the_values_of_a_feature_beside_their_training_range(fresh: Running) -> None:
    """Ten equal buckets from the minimum to the maximum, all that is below in the first, and all that is above."""
    found = samples(fresh.client)
    least = found["calibrant_feature_minimum['1', 'fahrenheit', 'thermometer']"]
    most = found["calibrant_feature_maximum['1', 'fahrenheit', 'thermometer']"]
    step = (most - least) / 10
    before = counts(fresh.client)
    middle = [least + step * (index + 0.5) for index in range(10)]
    for values in ([least - 100], [least], middle[:5], middle[5:], [most], [most + 100, most + 200]):
        assert fresh.client.post("/predict", json={"fahrenheit": values}).status_code == 200
    gained = [now - then for now, then in zip(counts(fresh.client), before, strict=True)]
    assert gained == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15]


@pytest.mark.parametrize("count", [5000, 8192, 8193, 100_000])
def test_the_values_of_small_and_large_requests_are_counted_alike(fresh: Running, count: int) -> None:
    """Kept for later, together with others, or counted in a thread: a scrape after the answer has them."""
    before = counts(fresh.client)
    assert fresh.client.post("/predict", json={"fahrenheit": [50.0] * count}).status_code == 200
    csv = {"content-type": "text/csv", "accept": "text/csv"}
    text = "fahrenheit\n" + "50\n" * count
    assert fresh.client.post("/models/thermometer/predict", content=text, headers=csv).status_code == 200
    gained = [now - then for now, then in zip(counts(fresh.client), before, strict=True)]
    assert (set(gained), gained[-1]) == ({0, 2 * count}, 2 * count)


def counts(client: httpx.Client) -> list[float]:
    """Of the thermometer's one feature, how many values are not above each bound, the bounds ascending."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = {
        float(sample.labels["le"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "calibrant_feature_values_bucket"
    }
    return [found[bound] for bound in sorted(found)] or [0.0] * 12


def test_swaps_failed_loads_and_states(tmp_path: Path) -> None:
    """Of versions that come while it serves."""
    publish(tmp_path)
    with serving(tmp_path) as running:
        running.until_ready()
        publish(tmp_path)
        running.until(lambda client: client.get("/models/thermometer").json()["default_version"] == "2")
        shutil.copytree(tmp_path / "thermometer" / "1", tmp_path / "thermometer" / "3")
        (tmp_path / "thermometer" / "3" / "network.pt").write_bytes(b"spoiled")
        failed = "calibrant_version_state['3', 'failed', 'thermometer']"
        running.until(lambda client: samples(client).get(failed) == 1)
        found = samples(running.client)
        assert found["calibrant_version_state['1', 'ready', 'thermometer']"] == 1
        assert found["calibrant_version_state['2', 'ready', 'thermometer']"] == 1
        assert found["calibrant_swaps_total['thermometer']"] == 1
        assert found["calibrant_failed_loads_total['thermometer']"] >= 1
        assert found["calibrant_ready_workers[]"] == found["calibrant_workers[]"] == 1
        assert found["calibrant_worker_starts_total[]"] == 1
        assert found["calibrant_queue_rows['1', 'thermometer']"] == 0
        assert found["process_resident_memory_bytes['0']"] > 2**20

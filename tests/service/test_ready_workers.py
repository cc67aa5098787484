"""Readiness of several workers: once the service says that it is ready, nobody is told that it is not."""

from pathlib import Path

import httpx

from running import serving

CONNECTIONS = 60


def test_ready_means_all_of_them(thermometer: Path) -> None:
    """After the first 200 of /readyz every prediction on a new connection is answered, start after start."""
    for _ in range(2):
        with serving(thermometer, "--workers", "3") as running:
            running.until(lambda _: httpx.get(f"{running.url}/readyz", timeout=90).status_code == 200, 90)
            for _ in range(CONNECTIONS):
                answer = httpx.post(f"{running.url}/predict", json={"fahrenheit": [50.0]}, timeout=30)
                assert answer.status_code == 200, answer.text
                assert httpx.get(f"{running.url}/v2/health/ready", timeout=30).status_code == 200


def test_workers_without_a_model_are_live(tmp_path: Path) -> None:
    """They take connections once they have looked for a model, and say that they are not ready."""
    with serving(tmp_path, "--workers", "2") as running:
        for _ in range(10):
            assert httpx.get(f"{running.url}/livez", timeout=90).status_code == 200
            assert httpx.get(f"{running.url}/readyz", timeout=30).status_code == 503

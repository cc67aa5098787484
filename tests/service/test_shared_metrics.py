"""GET /metrics with several workers: any of them answers for all, and no number ever becomes less."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from running import Running, serving

ROWS = "calibrant_rows_total"
ANSWERS = "calibrant_requests_total"
A_SECONDS_WORTH = 1.2


@pytest.fixture
def two(thermometer: Path) -> Iterator[Running]:
    """Two ready workers."""
    with serving(thermometer, "--workers", "2") as running:
        running.until(lambda _: scraped(running.url).get("calibrant_ready_workers") == 2, 60)
        yield running


def scraped(url: str) -> dict[str, float]:
    """The sum of each metric over its labels, as the worker that takes a new connection has it."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def workers(running: Running) -> list[int]:
    """The process ids of the workers."""
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def counters(url: str) -> dict[str, float]:
    """Every counter and every histogram's counts, by name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text)
        for sample in family.samples
        if sample.name.startswith("calibrant_") and family.type in {"counter", "histogram"}
    }


class Load:
    """Clients that send one row after the other, each on new connections, and know how many were answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answered: list[float] = []
        self._threads = [threading.Thread(target=self._send) for _ in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._stop.is_set():
            try:
                answer = httpx.post(f"{self._url}/predict", json={"fahrenheit": [50.0]}, timeout=30)
            except httpx.TransportError:
                continue
            assert answer.status_code in {200, 503}  # the new worker loads its models while it listens
            with self._lock:
                self.answered += [time.monotonic()] * (answer.status_code == 200)


def test_any_worker_answers_for_both(two: Running) -> None:
    """After a second at most every scrape has all that was answered, wherever it was."""
    for _ in range(40):
        assert httpx.post(f"{two.url}/predict", json={"fahrenheit": [50.0, 60.0]}).status_code == 200
    for _ in range(10):
        two.until(lambda _: scraped(two.url).get(ROWS) == 80, 10)
    found = scraped(two.url)
    assert found["calibrant_feature_values_count"] == 80
    assert found["calibrant_queue_seconds_count"] == 40
    assert found["calibrant_version_state"] == 2
    assert found["calibrant_workers"] == found["calibrant_worker_starts_total"] == 2
    text = httpx.get(f"{two.url}/metrics").text
    assert set(re.findall(r'process_resident_memory_bytes\{worker="(\d)"\}', text)) == {"0", "1"}


def test_a_killed_worker_loses_a_second_of_its_counts_at_most(two: Running) -> None:
    """No counter becomes less meanwhile, and in the end they have what was sent, but for that second."""
    with Load(two.url) as load:
        two.until(lambda _: len(load.answered) > 200, 30)
        before = counters(two.url)
        os.kill(workers(two)[0], signal.SIGKILL)
        killed = time.monotonic()

        def grown(_: httpx.Client) -> bool:
            nonlocal before
            now = counters(two.url)
            assert {key for key, value in before.items() if now.get(key, 0) < value} == set()
            before = now
            return scraped(two.url)["calibrant_ready_workers"] == scraped(two.url)["calibrant_worker_starts_total"] - 1

        two.until(grown, 60)
        two.until(lambda _: time.monotonic() > killed + 3, 10)
    lost = len([at for at in load.answered if killed - A_SECONDS_WORTH < at < killed])
    two.until(lambda _: scraped(two.url)[ROWS] >= len(load.answered) - lost, 10)
    final = scraped(two.url)
    assert len(load.answered) - lost <= final[ROWS] <= len(load.answered) + 4  # four more were answered to nobody
    assert final["calibrant_worker_starts_total"] == 3


def test_the_files_are_gone_in_the_end(thermometer: Path) -> None:
    """And one process makes none."""
    shared = Path("/dev/shm")
    before = set(shared.glob("calibrant-*"))
    with serving(thermometer) as running:
        running.until_ready()
        assert set(shared.glob("calibrant-*")) == before
    with serving(thermometer, "--workers", "2") as running:
        running.until(lambda _: scraped(running.url)["calibrant_workers"] == 2, 60)
        assert len(set(shared.glob("calibrant-*")) - before) == 1
    assert set(shared.glob("calibrant-*")) == before

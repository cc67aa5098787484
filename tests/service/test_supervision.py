"""Workers that die or hang, together, while they are told to stop, and when all of the service was stopped."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from running import Running, command, serving

# A network that stands still for one value, on the event loop.
BLOCKING = """
import time
import service.predictor
run = service.predictor.Predictor.run
def blocks(self, rows):
    if (rows == 666).any():
        time.sleep(600)
    return run(self, rows)
service.predictor.Predictor.run = blocks
"""
TIMEOUT = 2.0


@pytest.fixture
def two(thermometer: Path) -> Iterator[Running]:
    """Two ready workers; what was stopped goes on in the end."""
    flags = ["--workers", "2", "--worker-timeout-seconds", str(TIMEOUT), "--shutdown-timeout-seconds", "1"]
    with serving(thermometer, *flags) as running:
        running.until_all_ready(2)
        workers = running.workers()
        try:
            yield running
        finally:
            for pid in (running.process.pid, *workers):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def test_a_dead_worker_is_replaced_while_another_hangs(two: Running) -> None:
    """Within two seconds; and the one that hangs, within the setting."""
    hung, killed = two.workers()
    os.kill(hung, signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    two.until(lambda _: len(set(two.workers()) - {hung, killed}) == 1, 2)
    two.until(lambda _: not command(hung), TIMEOUT + 1)
    two.until_all_ready(2)
    assert not set(two.workers()) & {hung, killed}


@pytest.mark.parametrize("also", ["nothing", "all"])
def test_a_worker_that_hangs_does_not_hold_up_the_end(two: Running, also: str) -> None:
    """SIGTERM ends all within the shutdown timeout of one second and a little, with the usual status."""
    for pid in two.workers()[also == "nothing" :]:
        os.kill(pid, signal.SIGSTOP)
    two.process.terminate()
    started = time.monotonic()
    assert two.process.wait(20) == 0
    assert time.monotonic() - started < 10  # of which most is a busy machine's


def test_a_blocked_event_loop_is_a_worker_that_hangs(thermometer: Path, tmp_path: Path) -> None:
    """The worker is killed and replaced, and says so in the log."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKING)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    flags = ["--workers", "2", "--worker-timeout-seconds", str(TIMEOUT)]
    with serving(thermometer, *flags, environment=environment) as running:
        running.until_all_ready(2)
        before = set(running.workers())
        asking = threading.Thread(target=ask_for_trouble, args=(running.url,))
        asking.start()
        asking.join(TIMEOUT + 5)
        assert not asking.is_alive()
        running.until(lambda _: len(set(running.workers()) - before) == 1, 2)
        running.until_all_ready(2)


def ask_for_trouble(url: str) -> None:
    """Ask for what blocks; the connection ends with the worker."""
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/predict", json={"fahrenheit": [666.0]}, timeout=60)


def test_a_service_that_was_suspended_goes_on(two: Running) -> None:
    """All of it stood still, as after Ctrl-Z or on a laptop that slept: no worker hangs for that."""
    before = two.workers()
    for pid in (two.process.pid, *before):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(TIMEOUT + 1)
    for pid in (two.process.pid, *before):
        os.kill(pid, signal.SIGCONT)
    for _ in range(20):
        assert httpx.post(f"{two.url}/predict", json={"fahrenheit": [50.0]}, timeout=30).status_code == 200
    time.sleep(1)
    assert two.workers() == before


def test_a_missing_worker_is_not_ready(two: Running) -> None:
    """Readiness is that of all workers, and comes back with the one that was missing."""
    os.kill(two.workers()[0], signal.SIGKILL)

    def says_so(_: httpx.Client) -> bool:
        try:
            return httpx.get(f"{two.url}/readyz", timeout=0.5).status_code == 503
        except httpx.TimeoutException:  # it waits for the new worker
            return False

    two.until(says_so, 10)
    two.until_all_ready(2)

"""The service as its own process, and something to serve."""

import contextlib
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from training.__main__ import main as train

START_SECONDS = 60


@dataclass
class Running:
    """A service that runs: its process, where it listens, and a client for it."""

    process: subprocess.Popen[str]
    url: str
    artifacts: Path
    client: httpx.Client

    def until(self, holds: Callable[[httpx.Client], bool], seconds: float = 20) -> None:
        """Ask again and again until it holds; fails the test when it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds(self.client):
            assert time.monotonic() < deadline, "it never came to hold"
            time.sleep(0.02)

    def until_ready(self) -> None:
        """Wait until the default model serves."""
        self.until(lambda client: client.get("/readyz").status_code == 200)

    def until_all_ready(self, workers: int) -> None:
        """Wait until the default model serves in each of so many workers."""
        wanted = f"calibrant_ready_workers {workers:.1f}"
        self.until(lambda _: wanted in httpx.get(f"{self.url}/metrics", timeout=90).text, 90)
        self.until(lambda _: httpx.get(f"{self.url}/readyz", timeout=90).status_code == 200)

    def workers(self) -> list[int]:
        """The process ids of the workers, none where there is one process only."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in command(int(pid))]

    def replace_a_worker(self) -> None:
        """Kill one of the workers, and wait until another one is in its place."""
        before = self.workers()
        os.kill(before[0], signal.SIGKILL)
        self.until(lambda _: before[0] not in self.workers() and len(self.workers()) == len(before), 30)

    def versions(self) -> set[str]:
        """The versions that answer by themselves on 40 new connections; fails the test where one is refused."""
        answers = [httpx.post(f"{self.url}/predict", json={"fahrenheit": [50.0]}, timeout=30) for _ in range(40)]
        assert [answer.text for answer in answers if answer.status_code != 200] == []
        return {answer.json()["version"] for answer in answers}


def command(pid: int) -> bytes:
    """The command line of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextlib.contextmanager
def serving(
    artifacts: Path,
    *flags: str,
    environment: dict[str, str] | None = None,
    trusted: Path | None = None,
    through: Sequence[str] = (),
) -> Iterator[Running]:
    """``python -m service serve`` on a free port, until the block ends; it must then stop in good time.

    Its certificate, where it has one, is `trusted`. It is started by the command `through`, where there is one.
    """
    command = [*through, sys.executable, "-m", "service", "serve", "--artifacts", str(artifacts), "--port", "0", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
    try:
        url = _address(process)
        verify = ssl.create_default_context(cafile=trusted) if trusted else True
        with httpx.Client(base_url=url, timeout=30, verify=verify) as client:
            yield Running(process, url, artifacts, client)
    finally:
        process.terminate()
        _, log = process.communicate(timeout=30)
        print(log)
    assert "Traceback" not in log


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"running on (https?://[^\s\"]+)", line := process.stderr.readline()):
            return found[1]
        assert line or process.poll() is None, "the service ended before it listened"
    raise AssertionError("the service did not listen in time")


# For one of the services: neither door knows a predict path, so that the route answers.
_ROUTE_ONLY = "import service.door; service.door.predict_target = lambda path: None\n"


@contextlib.contextmanager
def serving_through_each_door(artifacts: Path, patched: Path, *flags: str) -> Iterator[list[Running]]:
    """One ready service with the fast door, one with the portable door only, one with neither; `patched` is empty."""
    (patched / "sitecustomize.py").write_text(_ROUTE_ONLY)
    environment = {"PYTHONPATH": os.pathsep.join([str(patched), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    with (
        serving(artifacts, "--fast-door", "true", *flags) as fast,
        serving(artifacts, "--fast-door", "false", *flags) as portable,
        serving(artifacts, "--fast-door", "false", *flags, environment=environment) as route,
    ):
        for running in (fast, portable, route):
            running.until_ready()
        yield [fast, portable, route]


def publish(artifacts: Path, *flags: str, epochs: int = 50) -> None:
    """Publish one more version, fitted for a moment."""
    assert train(["fit", "--artifacts", str(artifacts), "--epochs", str(epochs), *flags]) == 0

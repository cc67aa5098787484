"""``--workers 2``: one port, two processes, and the death of one is hardly noticed."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from running import serving


def process_of(url: str) -> str:
    """Which process answers a new connection: the first part of the ids it makes."""
    return httpx.get(f"{url}/livez", timeout=30).headers["x-request-id"].partition("-")[0]


def test_two_processes_share_the_connections_and_one_is_replaced(thermometer: Path) -> None:
    """Both answer; a killed one is replaced; the other one goes on; SIGTERM ends all with status 0."""
    with serving(thermometer, "--workers", "2") as running:
        running.until(lambda _: len({process_of(running.url) for _ in range(20)}) == 2, 60)
        before = {process_of(running.url) for _ in range(20)}
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(workers) == 2
        os.kill(int(workers[0]), signal.SIGKILL)
        seen: set[str] = set()

        def both(_: httpx.Client) -> bool:
            seen.add(process_of(running.url))
            return len(seen - before) == 1 and len(seen & before) >= 1

        running.until(both, 60)
        running.until_ready()
        running.process.terminate()
        assert running.process.wait(30) == 0


def test_a_port_that_is_taken_is_status_1() -> None:
    """Before any worker is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "service", "serve", "--workers", "2", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in json.loads(done.stderr)["event"]

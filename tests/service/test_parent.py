"""Who may listen: workers end with their parent, and a port that somebody has is refused."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from running import Running, command, serving


@contextlib.contextmanager
def with_workers(artifacts: Path, *flags: str) -> Iterator[tuple[Running, list[int]]]:
    """Two ready workers, of which none is left in the end."""
    with serving(artifacts, "--workers", "2", *flags) as running:
        running.until_all_ready(2)
        workers = running.workers()
        try:
            yield running, workers
        finally:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("stopped", [0, 1, 2])
def test_workers_end_with_their_parent(thermometer: Path, stopped: int) -> None:
    """A killed parent takes its workers along, also those that are stopped, and nobody listens any more."""
    with with_workers(thermometer) as (running, workers):
        for pid in workers[:stopped]:
            os.kill(pid, signal.SIGSTOP)
        running.process.kill()
        running.until(lambda _: not any(command(pid) for pid in workers), 5)
        with pytest.raises(httpx.NetworkError):  # a connection that waited may be reset
            httpx.get(f"{running.url}/livez", timeout=5)


def refused(*flags: str) -> dict[str, Any]:
    """The error of a service that cannot have its address, and ends with status 1."""
    argv = [sys.executable, "-m", "service", "serve", *flags]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    error: dict[str, Any]
    (error,) = [line for line in map(json.loads, done.stderr.splitlines()) if line["level"] == "error"]
    return error


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_refused(thermometer: Path, workers: str) -> None:
    """By one process and by several, by an address that overlaps too; the error names the process that has it."""
    with serving(thermometer, "--workers", workers) as running:
        port = running.url.rpartition(":")[2]
        for own, host in (("1", "127.0.0.1"), ("2", "127.0.0.1"), ("2", "0.0.0.0"), ("1", "::"), ("2", "localhost")):
            event = refused("--workers", own, "--host", host, "--port", port)["event"]
            assert event.startswith(f"cannot listen on {host}:{port}: address already in use, by process ")
            assert f"by process {running.process.pid} (" in event
            assert "-m service serve" in event
            assert event.count("by process") == 1
        assert running.client.get("/livez").status_code == 200


def test_one_of_two_that_start_at_once_is_refused() -> None:
    """However near to each other they bind."""
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        argv = [sys.executable, "-m", "service", "serve", "--workers", "2", "--port", port]
        both = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        try:
            assert wait_for_one(both).returncode == 1
            assert [process.poll() for process in both].count(None) == 1
        finally:
            for process in both:
                process.terminate()
                process.communicate(timeout=30)


def wait_for_one(processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """The first that ends."""
    while True:
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                return process


@pytest.mark.parametrize("workers", ["1", "2"])
def test_connections_that_have_ended_do_not_block_a_restart(thermometer: Path, workers: str) -> None:
    """The side that closes first keeps the port for a minute, which is no reason to refuse it."""
    port = 0
    for _ in range(2):
        with serving(thermometer, "--workers", workers, "--port", str(port)) as running:
            running.until(lambda client: client.get("/readyz").status_code == 200, 60)
            port = int(running.url.rpartition(":")[2])
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    while connection.recv(65536):
                        pass

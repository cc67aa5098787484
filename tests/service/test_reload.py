"""SIGHUP: keys, certificate and folder are read again, and nobody who asks meanwhile notices."""

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from keys import line
from running import Running, command, publish, serving
from training.__main__ import main as train

TABLE = {"fahrenheit": [50.0]}
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"authorization": f"Bearer {key}"}


def put(file: Path, *keys: str) -> Path:
    """Put a file of these keys in place."""
    new = file.with_suffix(".new")
    new.write_text("".join(map(line, keys)))
    return new.rename(file)


def until_ready(running: Running, workers: int) -> None:
    """Wait until all of it is ready."""
    running.until(lambda _: httpx.get(f"{running.url}/readyz", timeout=90).status_code == 200, 90)
    assert len(running.workers()) == (workers if workers > 1 else 0)


class Connections:
    """Connections that stay open, so many that every worker has some, each with a request that the fast door knows."""

    def __init__(self, running: Running, key: str) -> None:
        self._clients = [httpx.Client(base_url=running.url, headers=bearer(key), timeout=30) for _ in range(12)]

    def statuses(self) -> set[int]:
        """Ask once more on each."""
        return {client.post("/predict", json=TABLE).status_code for client in self._clients}

    def close(self) -> None:
        """Close all."""
        for client in self._clients:
            client.close()


class Load:
    """Clients with a good key that ask without a pause, on connections that stay and on new ones."""

    def __init__(self, running: Running, key: str) -> None:
        self._url, self._headers = running.url, bearer(key)
        self._stop = threading.Event()
        self.seen: set[int | str] = set()
        self._threads = [threading.Thread(target=target) for target in (self._stay, self._come_and_go)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, post: Callable[..., httpx.Response]) -> None:
        try:
            self.seen.add(post(f"{self._url}/predict", json=TABLE, headers=self._headers, timeout=30).status_code)
        except httpx.TransportError as error:
            self.seen.add(repr(error))

    def _stay(self) -> None:
        with httpx.Client() as client:
            while not self._stop.is_set():
                self._ask(client.post)

    def _come_and_go(self) -> None:
        while not self._stop.is_set():
            self._ask(httpx.post)


@WORKERS
def test_a_key_that_was_removed_is_refused_at_once(thermometer: Path, tmp_path: Path, workers: int) -> None:
    """On open connections whose request was known too; the key that stayed is never refused, the new one is let in."""
    file = put(tmp_path / "keys", "stays", "goes")
    with serving(thermometer, "--workers", str(workers), "--api-keys-file", str(file)) as running:
        until_ready(running, workers)
        going, coming = Connections(running, "goes"), Connections(running, "comes")
        for _ in range(3):
            assert going.statuses() == {200}
            assert coming.statuses() == {401}
        before = running.workers()
        with Load(running, "stays") as load:
            put(file, "stays", "comes")
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda _: going.statuses() == {401}, 2)
            running.until(lambda _: coming.statuses() == {200}, 1)
        assert load.seen == {200}
        assert running.workers() == before
        going.close()
        coming.close()


@WORKERS
def test_a_file_that_cannot_be_used_changes_nothing(thermometer: Path, tmp_path: Path, workers: int) -> None:
    """The log says why; what is good in another file is used all the same, and a good file ends it."""
    keys, admin = put(tmp_path / "keys", "first"), put(tmp_path / "admin", "operator")
    flags = ["--workers", str(workers), "--api-keys-file", str(keys), "--admin-keys-file", str(admin)]
    with serving(thermometer, *flags) as running:
        until_ready(running, workers)
        lines = read_lines(running)
        connections, operator = Connections(running, "first"), Connections(running, "operator")
        assert connections.statuses() == operator.statuses() == {200}
        for content in ("nonsense\n", "", None):
            keys.unlink()
            if content is not None:
                keys.write_text(content)
            running.process.send_signal(signal.SIGHUP)
            error = next_error(lines)
            assert str(keys) in error["event"]
            assert connections.statuses() == operator.statuses() == {200}
        put(admin, "another")
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda _: operator.statuses() == {401}, 2)
        assert connections.statuses() == {200}
        put(keys, "second")
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda _: connections.statuses() == {401}, 2)
        connections.close()
        operator.close()


def read_lines(running: Running) -> list[str]:
    """The lines of the log as they come."""
    found: list[str] = []
    stream = running.process.stderr
    assert stream is not None
    threading.Thread(target=lambda: found.extend(stream), daemon=True).start()
    return found


def next_error(lines: list[str]) -> dict[str, Any]:
    """The next line of level error."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for at, text in enumerate(lines):
            if json.loads(text)["level"] == "error":
                del lines[: at + 1]
                return dict(json.loads(text))
        time.sleep(0.02)
    raise AssertionError("no error was logged")


def test_a_worker_that_is_replaced_has_the_newest_keys(thermometer: Path, tmp_path: Path) -> None:
    """Also where their file has become bad since."""
    file = put(tmp_path / "keys", "old")
    with serving(thermometer, "--workers", "2", "--api-keys-file", str(file)) as running:
        until_ready(running, 2)
        put(file, "new")
        running.process.send_signal(signal.SIGHUP)
        connections = Connections(running, "old")
        running.until(lambda _: connections.statuses() == {401}, 2)
        connections.close()
        file.write_text("nonsense")
        for pid in running.workers():
            os.kill(pid, signal.SIGKILL)
        running.until(lambda _: len(running.workers()) == 2, 5)
        until_ready(running, 2)
        for key, expected in (("old", 401), ("new", 200)):
            connections = Connections(running, key)
            assert connections.statuses() == {expected}
            connections.close()


@WORKERS
def test_an_administrators_key_that_was_removed_is_refused(thermometer: Path, tmp_path: Path, workers: int) -> None:
    """Where everybody may predict, too."""
    file = put(tmp_path / "admin", "first")
    with serving(thermometer, "--workers", str(workers), "--admin-keys-file", str(file)) as running:
        until_ready(running, workers)

        def load(key: str) -> int:
            url = f"{running.url}/v2/repository/models/thermometer/load"
            return httpx.post(url, headers=bearer(key), timeout=30).status_code

        assert [load("first"), load("second")] == [200, 401]
        put(file, "second")
        running.process.send_signal(signal.SIGHUP)
        running.until(lambda _: {load("first") for _ in range(10)} == {401}, 2)
        running.until(lambda _: {load("second") for _ in range(10)} == {200}, 1)


def certificate(folder: Path, *kind: str) -> str:
    """Put a new certificate and its key into the folder; the certificate."""
    argv = ["openssl", "req", "-x509", "-newkey", *kind, "-days", "2", "-nodes", "-subj", "/CN=calibrant"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(argv, check=True, capture_output=True)
    return (folder / "certificate.pem").read_text()


def shown(running: Running) -> str:
    """The certificate that a new connection sees."""
    host, port = running.url.removeprefix("https://").split(":")
    return ssl.get_server_certificate((host, int(port)))


@WORKERS
def test_a_new_certificate_is_shown(thermometer: Path, tmp_path: Path, workers: int) -> None:
    """Of another kind of key as well; open connections go on; a key that does not fit changes nothing."""
    curve = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    first = certificate(tmp_path, *curve)
    files = ["--tls-certificate", str(tmp_path / "certificate.pem"), "--tls-key", str(tmp_path / "key.pem")]
    trusted = tmp_path / "first.pem"
    trusted.write_text(first)
    with serving(thermometer, "--workers", str(workers), *files, trusted=trusted) as running:
        running.until_ready()
        assert shown(running) == first
        for kind in (("rsa:2048",), curve):
            newest = certificate(tmp_path, *kind)
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda _: {shown(running) for _ in range(10)} == {newest}, 3)  # noqa: B023 - used at once
            assert running.client.post("/predict", json=TABLE).status_code == 200
        lines = read_lines(running)
        certificate(tmp_path, *curve)
        (tmp_path / "certificate.pem").write_text(first)
        running.process.send_signal(signal.SIGHUP)
        assert "tls_certificate" in next_error(lines)["event"]
        assert {shown(running) for _ in range(10)} == {newest}


def test_the_folder_is_looked_at_at_once(tmp_path: Path) -> None:
    """A label that is moved counts before the next look would be due."""
    publish(tmp_path, epochs=5)
    publish(tmp_path, epochs=5)
    with serving(tmp_path, "--refresh-seconds", "2") as running:
        running.until_ready()
        started = time.monotonic()
        for version in ("1", "2") * 4:
            assert train(["label", "thermometer", "champion", version, "--artifacts", str(tmp_path)]) == 0
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda client: client.post("/predict", json=TABLE).json()["version"] == version, 5)  # noqa: B023 - used at once
        assert time.monotonic() - started < 4


def harmless() -> list[signal.Signals]:
    """Every signal but those that stop the service, SIGHUP, those that cannot be caught, and those of faults."""
    others = {"TERM", "INT", "HUP", "KILL", "STOP", "ABRT", "BUS", "FPE", "ILL", "SEGV", "SYS", "TRAP", "XCPU"}
    return [number for number in signal.Signals if number.name.removeprefix("SIG") not in others]


@WORKERS
def test_every_other_signal_is_harmless(thermometer: Path, workers: int) -> None:
    """Sent to the parent, and to each worker, which SIGHUP and SIGINT, from a terminal to all, do not harm either."""
    with serving(thermometer, "--workers", str(workers)) as running:
        until_ready(running, workers)
        before = running.workers()
        for number in harmless():
            for pid in (running.process.pid, *before):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)
        for pid in before:
            os.kill(pid, signal.SIGHUP)
            os.kill(pid, signal.SIGINT)
        for _ in range(5 * workers):
            assert httpx.post(f"{running.url}/predict", json=TABLE, timeout=30).status_code == 200
        running.process.send_signal(signal.SIGHUP)
        assert running.client.get("/readyz").status_code == 200
        assert running.workers() == before
        assert all(command(pid) for pid in before)
        assert running.process.poll() is None


def test_a_request_that_waits_on_its_connection_survives_a_reload(thermometer: Path) -> None:
    """A body that is half sent when SIGHUP comes is answered when it is whole."""
    body = json.dumps(TABLE).encode()
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with serving(thermometer) as running:
        running.until_ready()
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(head.encode() + body[:5])
            assert running.client.get("/livez").status_code == 200
            running.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            connection.sendall(body[5:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")

"""A flood of odd connections does not become a flood of lines, whichever logger speaks of them."""

import json
import logging.config
import socket
import ssl
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from running import Running, serving
from service import logs

PER_KIND = 60
RESET = struct.pack("ii", 1, 0)
UPGRADE = (
    b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n"
)


def sends(content: bytes) -> Callable[[tuple[str, int]], None]:
    """A client that sends this and waits for the end."""

    def client(address: tuple[str, int]) -> None:
        with socket.create_connection(address, 10) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                while connection.recv(65536):
                    pass

    return client


def resets(content: bytes) -> Callable[[tuple[str, int]], None]:
    """A client that sends this and resets its connection."""

    def client(address: tuple[str, int]) -> None:
        with socket.create_connection(address, 10) as connection:
            connection.sendall(content)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    return client


def distrusts(address: tuple[str, int]) -> None:
    """A client of TLS that does not know the certificate, or finds no TLS."""
    context = ssl.create_default_context()
    with suppress(OSError), socket.create_connection(address, 10) as connection:
        context.wrap_socket(connection, server_hostname="127.0.0.1").close()


CLIENTS = {
    "garbage": sends(b"\x00\xff\x1b nonsense\r\n\r\n"), "control": sends(b"GET /\x01 HTTP/1.1\r\nhost: x\r\n\r\n"),
    "upgrade": sends(UPGRADE), "half": resets(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"),
    "at once": resets(b""), "tls": distrusts, "plain": sends(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"),
}  # fmt: skip


def certificate(folder: Path) -> list[str]:
    """The flags of a service that has one."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2", "-nodes"]
    key, chain = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [*argv, "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", chain],
        check=True,
        capture_output=True,
    )
    return ["--tls-certificate", str(chain), "--tls-key", str(key)]


@pytest.mark.parametrize("secured", [False, True])
def test_odd_connections_are_said_now_and_then(thermometer: Path, tmp_path: Path, secured: bool) -> None:
    """No kind gets more than a line a second, however many there are; the first and the last lines are all there."""
    flags = certificate(tmp_path) if secured else []
    with serving(thermometer, *flags, trusted=tmp_path / "certificate.pem" if secured else None) as running:
        running.until_ready()
        flood(running)
        running.process.terminate()
        assert running.process.stderr is not None
        found = [json.loads(text) for text in running.process.stderr]
    said = [line["event"] for line in found]
    for event in (
        "Started server process",
        "Application startup complete.",
        "Shutting down",
        "Finished server process",
    ):
        assert any(text.startswith(event) for text in said), event
    check_spread(found)


def flood(running: Running) -> None:
    """More than 300 connections of every kind."""
    host, port = running.url.rpartition("/")[2].split(":")
    for _ in range(PER_KIND):
        for client in CLIENTS.values():
            client((host, int(port)))


def check_spread(found: list[dict[str, Any]]) -> None:
    """At most one line in each second and kind."""
    odd = [line for line in found if line["level"] in {"warning", "error"}]
    kinds = Counter((line["logger"], line["event"].partition("\n")[0], line.get("kind")) for line in odd)
    seconds = len({line["timestamp"][:19] for line in found})
    for kind, count in kinds.items():
        assert count <= seconds + 1, kind


def test_a_line_that_is_left_out_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """The next one of its kind says how many were left out; other kinds, and the service's own lines, are all said."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logging.config.dictConfig(logs.config("info"))
    try:
        for second in range(2):
            for _ in range(50):
                logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
                logging.getLogger("calibrant.store").info("own")
            logging.getLogger("asyncio").error("another")
            time.sleep(1.1 * (1 - second))
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    found = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert [line.get("alike") for line in found if line["logger"] == "uvicorn.error"] == [None, 49]
    assert len([line for line in found if line["logger"] == "calibrant.store"]) == 100
    assert len([line for line in found if line["logger"] == "asyncio"]) == 2

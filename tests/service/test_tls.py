"""HTTPS: under both doors, from several processes, nothing older than TLS 1.2, clear words where it cannot start."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raw import GOOD, post
from running import serving
from service.__main__ import main


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    return made(folder / "certificate.pem", folder / "key.pem", "-nodes")


def made(certificate: Path, key: Path, *flags: str) -> tuple[Path, Path]:
    """By openssl's command line."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2", *flags]
    names = ["-subj", "/CN=calibrant", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def flags(certificate: tuple[Path, Path]) -> list[str]:
    """Of a service that has it."""
    return ["--tls-certificate", str(certificate[0]), "--tls-key", str(certificate[1])]


@pytest.mark.parametrize("more", [["--fast-door", "true"], ["--fast-door", "false"], ["--workers", "2"]])
def test_predictions_under_tls(thermometer: Path, certificate: tuple[Path, Path], more: list[str]) -> None:
    """The same answers, small and large, on one connection."""
    with serving(thermometer, *flags(certificate), *more, trusted=certificate[0]) as running:
        assert running.url.startswith("https://")
        running.until_ready()
        for rows in (1, 3, 3, 3, 100_000, 3):
            response = running.client.post("/predict", json={"fahrenheit": [50.0] * rows})
            assert len(response.json()["predictions"]["celsius"]) == rows
        assert running.client.get("/").status_code == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_what_is_no_tls_is_not_answered(thermometer: Path, certificate: tuple[Path, Path]) -> None:
    """Neither plain HTTP nor a version that is broken; others are served meanwhile, and the command-line client too."""
    with serving(thermometer, *flags(certificate), trusted=certificate[0]) as running:
        running.until_ready()
        host, port = running.url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            plain.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"HTTP" not in plain.recv(100)
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            agreed = handshake(host, int(port), version)
            assert agreed == (None if version is ssl.TLSVersion.TLSv1_1 else version.name.replace("_", "."))
        readings = running.artifacts / "readings.csv"
        readings.write_text("fahrenheit\n50\n")
        command = [sys.executable, "-m", "service", "predict", str(readings), "--url", running.url]
        environment = {**os.environ, "SSL_CERT_FILE": str(certificate[0])}
        subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True)


def handshake(host: str, port: int, version: ssl.TLSVersion) -> str | None:
    """The version that is agreed on with a client that has only this one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    with socket.create_connection((host, port), timeout=10) as connection:
        try:
            with context.wrap_socket(connection) as secured:
                return secured.version()
        except ssl.SSLError:
            return None


HEAD_SECONDS = 1


def test_who_does_not_finish_the_handshake_is_hung_up_on(thermometer: Path, certificate: tuple[Path, Path]) -> None:
    """Silence, half a hello, one that trickles, and plain bytes all end within the time for a head."""
    limits = ["--head-timeout-seconds", str(HEAD_SECONDS), "--shutdown-timeout-seconds", "5"]
    with serving(thermometer, *flags(certificate), *limits, trusted=certificate[0]) as running:
        running.until_ready()
        host, port = running.url.removeprefix("https://").split(":")
        hello = client_hello()
        for first, pause in (
            (b"", 0.0),
            (hello[:3], 0.0),
            (hello[:-1], 0.0),
            (hello, 0.1),
            (b"GET / HTTP/1.1\r\n\r\n", 0.0),
        ):
            started = time.monotonic()
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                dripped(connection, first, pause)
            assert time.monotonic() - started < HEAD_SECONDS + 1
        assert running.client.get("/livez").status_code == 200


def client_hello() -> bytes:
    """Return the first bytes of a client, as OpenSSL makes them."""
    sent = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    return sent.read()


def dripped(connection: socket.socket, data: bytes, pause: float) -> None:
    """Send it, a byte at a time where there is a pause, and wait until the service closes."""
    with contextlib.suppress(ConnectionError):
        for byte in data if pause else ():
            connection.sendall(bytes([byte]))
            connection.settimeout(pause)
            with contextlib.suppress(TimeoutError):
                assert connection.recv(65536) == b""
                return
        connection.settimeout(10)
        connection.sendall(b"" if pause else data)
        while connection.recv(65536):
            pass


def test_who_does_not_finish_the_handshake_holds_up_no_end(thermometer: Path, certificate: tuple[Path, Path]) -> None:
    """A service stops in good time although a client has never said hello."""
    with serving(
        thermometer, *flags(certificate), "--shutdown-timeout-seconds", "1", trusted=certificate[0]
    ) as running:
        running.until_ready()
        host, port = running.url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port)), timeout=10):
            assert running.client.get("/livez").status_code == 200
            running.client.close()
            running.process.terminate()
            assert running.process.wait(8) == -signal.SIGTERM


@pytest.mark.parametrize("more", [(), ("x-unknown: 1",)], ids=["plain", "with a header"])
def test_a_client_that_ends_tls_is_hung_up_on(
    thermometer: Path, certificate: tuple[Path, Path], more: tuple[str, ...]
) -> None:
    """TLS has no half of a connection here: after a client's close_notify the service closes, and serves on."""
    with serving(thermometer, *flags(certificate), "--max-wait-ms", "300", trusted=certificate[0]) as running:
        running.until_ready()
        host, port = running.url.removeprefix("https://").split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = socket.create_connection((host, int(port)), timeout=10)
        with connection, context.wrap_socket(connection) as secured:
            for _ in range(2):
                secured.sendall(post(GOOD, *more))
                answer = b""
                while not answer.endswith(b"}"):
                    answer += secured.recv(1000)
                assert answer.startswith(b"HTTP/1.1 200")
            secured.sendall(post(GOOD, *more))
            with contextlib.suppress(OSError):  # the service's own close_notify may come behind an answer
                secured.unwrap()
        assert running.client.post("/predict", content=GOOD, headers={"content-type": "application/json"}).is_success


def test_what_cannot_be_used_ends_with_status_2(
    tmp_path: Path, certificate: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """One without the other, a file that is missing or no PEM, another's key, and a key that wants a password."""
    good, key = certificate
    other = made(tmp_path / "other.pem", tmp_path / "other-key.pem", "-nodes")
    locked = made(tmp_path / "locked.pem", tmp_path / "locked-key.pem", "-passout", "pass:secret")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    pairs = [
        (good, tmp_path / "no"),
        (tmp_path / "no", key),
        (good, nonsense),
        (nonsense, key),
        (good, other[1]),
        locked,
    ]
    cases = [flags((good, key))[:2], flags((good, key))[2:], *map(flags, pairs)]
    for case in cases:
        assert main(["serve", "--artifacts", str(tmp_path), *case]) == 2, case
        error = capsys.readouterr().err
        assert error.startswith("error: tls_certificate")
        assert error.count("\n") == 1

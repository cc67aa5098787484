"""HTTPS: under both doors, from several processes, nothing older than TLS 1.2, clear words where it cannot start."""

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

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

"""``python -m service`` as its users start it: exit statuses, messages, signals."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from running import publish, serving
from service.__main__ import main

ROOT = Path(__file__).parent.parent.parent


def test_check_lists_every_version_and_succeeds(thermometer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it would serve, from what to what."""
    assert main(["check", "--artifacts", str(thermometer)]) == 0
    assert capsys.readouterr().out.split() == ["thermometer", "1", "ready", "fahrenheit", "->", "celsius"]


def test_check_fails_when_one_version_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason, and the good ones listed beside it."""
    publish(tmp_path)
    publish(tmp_path)
    with (tmp_path / "thermometer" / "2" / "network.pt").open("ab") as file:
        file.write(b"x")
    capsys.readouterr()
    assert main(["check", "--artifacts", str(tmp_path)]) == 1
    good, bad = capsys.readouterr().out.splitlines()
    assert "ready" in good
    assert "failed" in bad
    assert "network.pt: has" in bad


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_check_fails_when_there_is_nothing(tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipeline that publishes nothing must not pass."""
    (tmp_path / "empty").mkdir()
    assert main(["check", "--artifacts", str(tmp_path / folder)]) == 1
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "named"),
    [(["--port", "x"], "port"), (["--port", "65536"], "port"), (["--log-level", "loud"], "log_level"),
     (["--max-rows", "0"], "max_rows")],
)  # fmt: skip
def test_a_bad_setting_is_one_line_and_status_2(
    flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the setting."""
    assert main(["serve", *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {named}: ")
    assert error.count("\n") == 1


def test_cuda_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a silent fall back to the CPU."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["serve", "--device", "cuda"]) == 2
    assert "cuda" in capsys.readouterr().err


def test_flags_win_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the environment over the defaults."""
    monkeypatch.setenv("CALIBRANT_ARTIFACTS", str(tmp_path / "from-environment"))
    assert main(["check"]) == 1
    monkeypatch.setenv("CALIBRANT_MAX_ROWS", "nonsense")
    assert main(["check", "--max-rows", "5"]) == 1
    assert main(["check"]) == 2


def test_a_port_that_is_taken_ends_with_status_1(thermometer: Path) -> None:
    """And not in a loop."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "service", "serve", "--artifacts", str(thermometer), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "address already in use" in ended.stderr


def test_sigterm_answers_what_it_took_and_ends(thermometer: Path) -> None:
    """A request that is half sent is still answered in full; the status is that of a process that SIGTERM ended."""
    body = b'{"fahrenheit":[' + b"50.0," * 99_999 + b"50.0]}"
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with serving(thermometer) as running:
        running.until_ready()
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(head.encode() + body[:1000])
            assert running.client.get("/livez").status_code == 200  # so the half request has been read too
            running.process.send_signal(signal.SIGTERM)
            connection.sendall(body[1000:])
            with connection.makefile("rb") as answer:
                assert answer.readline().startswith(b"HTTP/1.1 200")
                assert answer.read().count(b",") > 99_999
        assert running.process.wait(20) in {143, -signal.SIGTERM}


def test_what_the_image_copies_is_enough(thermometer: Path, tmp_path: Path) -> None:
    """The service runs from a folder that holds only what the Dockerfile copies; training is not in it."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    ]
    assert "training" not in " ".join(copied)
    for name in copied:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path)
    script = "import sys, runpy; sys.modules['training'] = None; runpy.run_module('service', run_name='__main__')"
    command = [sys.executable, "-c", script, "check", "--artifacts", str(thermometer)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    where = subprocess.run(
        [sys.executable, "-c", "import service; print(service.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(tmp_path))

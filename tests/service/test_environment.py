"""What surrounds a command: its environment, the reader of its output, and a container in which it is process 1."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from running import serving

SERVICE, TRAINING = [sys.executable, "-m", "service"], [sys.executable, "-m", "training"]


def run(argv: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    own = {**os.environ, **environment}
    return subprocess.run(argv, env=own, capture_output=True, text=True, timeout=120, check=False)


def test_a_misspelt_setting_is_a_warning(thermometer: Path) -> None:
    """With the nearest name, in the log; what Kubernetes and `predict` have there is none."""
    environment = {
        "CALIBRANT_PROT": "1", "calibrant_max_row": "5", "CALIBRANT_NONSENSE_OF_MINE": "1", "CALIBRANT_API_KEY": "k",
        "CALIBRANT_SERVICE_HOST": "10.0.0.1", "CALIBRANT_SERVICE_PORT": "80", "CALIBRANT_SERVICE_PORT_HTTP": "80",
        "CALIBRANT_PORT_80_TCP": "tcp://10.0.0.1:80", "CALIBRANT_PORT_80_TCP_ADDR": "10.0.0.1",
        "CALIBRANT_CANARY_SERVICE_HOST": "10.0.0.2", "CALIBRANT_CANARY_PORT": "tcp://10.0.0.2:80",
        "CALIBRANT_LOG_LEVEL": "info",
    }  # fmt: skip
    with serving(thermometer, environment=environment) as running:
        running.until_ready()
        running.process.terminate()
    checked = run([*SERVICE, "check", "--artifacts", str(thermometer)], **environment)
    assert checked.returncode == 0
    lines = checked.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        "warning: the environment variable CALIBRANT_NONSENSE_OF_MINE is no setting, and is ignored: "
        "docs/settings.md has all settings"
    )
    assert lines[1].endswith("CALIBRANT_PROT is no setting, and is ignored: did you mean CALIBRANT_PORT?")
    assert lines[2].endswith("calibrant_max_row is no setting, and is ignored: did you mean CALIBRANT_MAX_ROWS?")


def test_the_log_of_the_service_has_the_warning(tmp_path: Path) -> None:
    """As its first line, before the service listens."""
    ended = run([*SERVICE, "serve", "--host", "192.0.2.1"], CALIBRANT_PROT="1")
    assert ended.returncode == 1
    first = json.loads(ended.stderr.splitlines()[0])
    assert (first["level"], first["logger"]) == ("warning", "calibrant")
    assert "did you mean CALIBRANT_PORT?" in first["event"]


def test_the_port_that_kubernetes_sets_is_an_error_that_says_so() -> None:
    """A Service named calibrant puts its address into every container."""
    ended = run([*SERVICE, "serve"], CALIBRANT_PORT="tcp://10.0.0.1:8000")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: port: CALIBRANT_PORT is tcp://10.0.0.1:8000, as Kubernetes sets it")
    assert ended.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def many(thermometer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with so many versions that a list of them fills a pipe; one of them is broken."""
    artifacts = tmp_path_factory.mktemp("many")
    for number in range(1, 1200):
        (artifacts / ("model-with-a-long-name-" * 3) / str(number)).mkdir(parents=True)
    return artifacts


def piped(argv: list[str], reads: int, sent: str = "") -> tuple[int, str]:
    """The status and the errors of a command whose reader leaves after so many bytes."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    if not reads:
        process.stdout.close()
    process.stdin.write(sent.encode())
    process.stdin.close()
    if reads:
        process.stdout.read(reads)
        process.stdout.close()
    with process.stderr:
        return process.wait(120), process.stderr.read().decode()


@pytest.mark.parametrize("reads", [0, 10])
def test_a_reader_may_leave(many: Path, thermometer: Path, tmp_path: Path, reads: int) -> None:
    """Every command ends as if all had been read, without a trace."""
    published = tmp_path / "artifacts"
    for argv, expected in (
        ([*SERVICE, "check", "--artifacts", str(many)], 1),
        ([*SERVICE, "check", "--artifacts", str(thermometer)], 0),
        ([*SERVICE, "--help"], 0),
        ([*SERVICE, "serve", "--help"], 0),
        ([*SERVICE, "key", "alice"], 0),
        ([*TRAINING, "--help"], 0),
        ([*TRAINING, "fit", "--help"], 0),
        ([*TRAINING, "fit", "--epochs", "2", "--artifacts", str(published)], 0),
    ):
        status, errors = piped(argv, reads)
        assert status == expected, argv
        assert "Traceback" not in errors
        assert "BrokenPipe" not in errors
    assert (published / "thermometer" / "1" / "manifest.json").exists()


@pytest.mark.parametrize("command", [[*SERVICE, "check"], [*SERVICE, "--help"], [*TRAINING, "fit", "--help"]])
def test_output_that_cannot_be_written_is_an_error(command: list[str], thermometer: Path) -> None:
    """On a full disk: status 1 and one line, for what is short and what is long."""
    flags = ["--artifacts", str(thermometer)] if command[-1] == "check" else []
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, *flags], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: the output could not be written: No space left on device\n"


def test_the_reader_of_predictions_may_leave(thermometer: Path) -> None:
    """Also in the middle of many rows."""
    rows = "fahrenheit\n" + "50\n" * 50_000
    with serving(thermometer) as running:
        running.until_ready()
        for reads in (0, 10):
            status, errors = piped([*SERVICE, "predict", "-", "--url", running.url], reads, rows)
            assert (status, errors) == (0, "")


UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def may_unshare() -> bool:
    """Whether this machine lets a test make a process 1."""
    return bool(shutil.which("unshare")) and run([*UNSHARE, "true"]).returncode == 0


# The parent of several imports next to nothing.
@pytest.mark.parametrize(
    ("workers", "status", "when"), [("1", 143, "importing"), ("1", 143, "running on"), ("2", 0, "running on")]
)
def test_process_1_ends_by_sigterm(thermometer: Path, workers: str, status: int, when: str) -> None:
    """With the documented status, also while it starts, though the kernel lets no signal end process 1 by default."""
    if not may_unshare():
        pytest.skip("needs the right to make a namespace")
    argv = [*UNSHARE, *SERVICE, "serve", "--artifacts", str(thermometer), "--workers", workers, "--port", "0"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        child = first_child(process.pid)
        if when == "running on":
            assert any("running on" in text for text in process.stderr)
        else:
            while b"torch" not in Path(f"/proc/{child}/maps").read_bytes():
                assert process.poll() is None
        os.kill(child, signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == status
    finally:
        process.kill()


def first_child(pid: int) -> int:
    """The process 1 of the namespace, seen from here, once it is Python."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while True:
        for child in children.read_text().split():
            if b"service" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)

"""Fixtures of the training tests: the command as its user meets it, and a version that was published by it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from training.__main__ import main

ROOT = Path(__file__).parents[2]

Command = Callable[..., tuple[int, str, str]]
Process = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process: its exit status, its stdout, its stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def process() -> Process:
    """Start a fresh Python process in the project's root, with no more threads than a small machine has."""

    def start(*arguments: object, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background has it ignored, and a child inherits that.
            preexec_fn=_interruptible,  # noqa: PLW1509 - the tests start no threads
        )

    return start


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def published(tmp_path: Path, command: Command) -> Path:
    """The first version of the thermometer, trained for three epochs."""
    status, _, error = command("fit", "--epochs", 3, "--artifacts", tmp_path / "artifacts")
    assert status == 0, error
    return tmp_path / "artifacts" / "thermometer" / "1"


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Write a file of readings, ``readings.csv``."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "readings.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write

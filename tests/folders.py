"""What tests of an odd artifacts folder ask of a service and of its `check`."""

import subprocess
import sys
from pathlib import Path

import httpx

import odd
from training.__main__ import main as train

SECONDS = 2.5  # the promise is two; the rest is for a busy machine's load of the new version
QUICK = ("--refresh-seconds", "0.05")


def label(artifacts: Path, model: str, name: str, version: int) -> None:
    """Move a label."""
    assert train(["label", model, name, str(version), "--artifacts", str(artifacts)]) == 0


def check(artifacts: Path) -> tuple[int, str]:
    """The exit status and the output of the command."""
    command = [*odd.UNPRIVILEGED, sys.executable, "-m", "service", "check", "--artifacts", str(artifacts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def answering(client: httpx.Client, path: str = "/models/thermometer/predict") -> str | None:
    """The version that answers at a path, None while none does."""
    response = client.post(path, json={"fahrenheit": [50.0]})
    return response.json()["version"] if response.status_code == 200 else None


def warnings(client: httpx.Client) -> str:
    """What is wrong with the thermometer's folder."""
    return " ".join(client.get("/models/thermometer").json()["warnings"])

"""The API is what its document says: schemathesis, from the outside, with every check that it has."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from left_out import fit, published
from running import Running, serving

CONFIGURATION = Path(__file__).parent.parent / "schemathesis.toml"
SECONDS = 20


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Running]:
    """A service of a thermometer with intervals."""
    published(tmp_path, fit())
    with serving(tmp_path) as running:
        running.until_ready()
        yield running


def test_schemathesis_finds_nothing(bounded: Running) -> None:
    """Every operation, good and bad requests, one after another and in sequences, for a while."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
    command += ["run", f"{bounded.url}/openapi.json", "--checks", "all", "--seed", "1", "--max-time", str(SECONDS)]
    done = subprocess.run([*command, "--no-color"], capture_output=True, text=True, timeout=5 * SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert "Test cases:" in done.stdout

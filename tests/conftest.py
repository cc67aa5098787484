"""What many tests share: a published thermometer, and a service of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from running import Running, publish, serving


@pytest.fixture(scope="session")
def thermometer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one version of the thermometer."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    publish(artifacts)
    return artifacts


@pytest.fixture(scope="session")
def service(thermometer: Path) -> Iterator[Running]:
    """A ready service of the thermometer; for tests that change nothing."""
    with serving(thermometer) as running:
        running.until_ready()
        yield running

"""What many tests share: a published thermometer, and a service of it."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from folders import label
from left_out import without_intervals
from running import Running, publish, serving
from tensors import index
from training import dataset, readings, record, textbook
from training import publish as publication
from training.__main__ import main as train
from training.fit import THERMOMETER, THERMOMETER_UNITS


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Give back what the test's process does on signals: `serve`, run in this process, ignores most of them."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


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


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version without intervals, as `fit` published them once."""
    data = dataset.choose(readings.read(THERMOMETER), (), THERMOMETER_UNITS)
    run = without_intervals(textbook.Recipe(epochs=2).run(data, 0, "cpu"))
    return publication.publish(tmp_path_factory.mktemp("artifacts"), "thermometer", record.files(run, "thermometer"))


@pytest.fixture
def version(original: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(original, tmp_path / "thermometer" / "1")


WINE = "acid,sugar,score,price\n" + "\n".join(f"{row},{row * row % 7},{row % 3},{2 * row}" for row in range(12))


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of the thermometer, and of a wine with two features and two targets, version 1 of which is labelled."""
    artifacts = tmp_path_factory.mktemp("both")
    publish(artifacts)
    data = artifacts.parent / "wine.csv"
    data.write_text(WINE)
    for _ in range(2):
        publish(artifacts, "--data", str(data), "--target", "score", "--target", "price", "--model", "wine")
    assert train(["label", "wine", "candidate", "1", "--artifacts", str(artifacts)]) == 0
    with serving(artifacts, "--max-rows", "1000000") as running:
        running.until(lambda client: len(index(client, ready=True)) == 3)
        yield running


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of the thermometer, the first of which is the champion, and another model; nobody changes it."""
    artifacts = tmp_path_factory.mktemp("two")
    publish(artifacts)
    publish(artifacts)
    publish(artifacts, "--model", "other")
    label(artifacts, "thermometer", "champion", 1)
    return artifacts


@pytest.fixture
def artifacts(two: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(two, tmp_path / "artifacts")

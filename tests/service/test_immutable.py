"""What serves stays as it was loaded, whatever becomes of its files, and a number stands for what was published."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from running import Running, publish, serving
from training.__main__ import main as train

QUICK = ("--refresh-seconds", "0.05")


def celsius(client: httpx.Client, version: int) -> float | None:
    """What that version of the thermometer answers; None while it does not."""
    path = f"/models/thermometer/versions/{version}/predict"
    response = client.post(path, json={"fahrenheit": [50.0]})
    value: float | None = response.json()["predictions"]["celsius"][0] if response.status_code == 200 else None
    return value


def reason(client: httpx.Client, version: int) -> str:
    """What /models says of that version."""
    return client.get(f"/models/thermometer/versions/{version}").json().get("reason") or ""


def differs(client: httpx.Client, version: int) -> bool:
    """Whether the metrics say that its files have changed."""
    sample = f'calibrant_version_differs{{model="thermometer",version="{version}"}} 1.0'
    return sample in client.get("/metrics").text


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Two versions that answer differently."""
    for seed in ("0", "1"):
        publish(tmp_path / "artifacts", "--seed", seed, epochs=5)
    return tmp_path / "artifacts"


def overwrite(artifacts: Path) -> None:
    """Put the files of version 2 over those of version 1, each in one step."""
    for path in (artifacts / "thermometer" / "2").iterdir():
        shutil.copy(path, artifacts / "thermometer" / "1" / ".new")
        (artifacts / "thermometer" / "1" / ".new").rename(artifacts / "thermometer" / "1" / path.name)


def test_an_overwritten_version_serves_as_it_was_loaded(artifacts: Path) -> None:
    """Another good version's files change no answer; /models and the metrics say so, and a restart refuses them."""
    model = artifacts / "thermometer"
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: celsius(client, 1) is not None and celsius(client, 2) is not None)
        first = celsius(running.client, 1)
        assert first != celsius(running.client, 2)
        shutil.copytree(model / "1", artifacts.parent / "kept")
        overwrite(artifacts)
        running.until(lambda client: "its files have changed since" in reason(client, 1))
        assert celsius(running.client, 1) == first
        assert differs(running.client, 1)
        shutil.rmtree(model / "1")
        shutil.copytree(artifacts.parent / "kept", model / "1")
        # For a moment the folder was gone, and with it the version.
        running.until(lambda client: not reason(client, 1) and celsius(client, 1) == first)
        assert not differs(running.client, 1)
        overwrite(artifacts)
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: "differs from what was published as version 1" in reason(client, 1))
        running.until(lambda client: celsius(client, 2) is not None)
        assert celsius(running.client, 1) is None
        (model / "digests" / "1").unlink()
        running.until(lambda client: celsius(client, 1) is not None)


def test_the_same_bytes_are_no_difference(artifacts: Path) -> None:
    """Files that are touched or copied over themselves, and added ones, are nothing to speak of."""
    version = artifacts / "thermometer" / "1"
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: celsius(client, 1) is not None)
        for path in list(version.iterdir()):
            shutil.copy(path, version / ".new")
            (version / ".new").rename(path)
            os.utime(path)
        (version / "report.html").write_text("<p>")
        (version / "network.pt").rename(version / "moved")
        running.until(lambda client: "network.pt" in reason(client, 1))  # so that it was looked at since
        (version / "moved").rename(version / "network.pt")
        running.until(lambda client: not reason(client, 1))
        assert not differs(running.client, 1)


@pytest.mark.parametrize("record", ["not a digest", "0" * 64])
def test_a_version_with_another_record_is_refused_by_all(
    artifacts: Path, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` and training refuse a version whose record is damaged or another one's, and name the record."""
    (artifacts / "thermometer" / "digests" / "1").write_text(record)
    command = [sys.executable, "-m", "service", "check", "--artifacts", str(artifacts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "digests/1" in done.stdout
    readings = ["--data", "training/data/thermometer.csv", "--artifacts", str(artifacts)]
    assert train(["evaluate", "--model", "thermometer", "--version", "1", *readings]) == 2
    assert "digests/1" in capsys.readouterr().err


def test_a_version_without_a_record_loads(artifacts: Path) -> None:
    """Older versions, and copies from elsewhere, have none."""
    shutil.rmtree(artifacts / "thermometer" / "digests")
    shutil.copytree(artifacts / "thermometer" / "2", artifacts / "thermometer" / "7")
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: all(celsius(client, version) is not None for version in (1, 2, 7)))


def workers(running: Running) -> set[int]:
    """The processes that answer."""
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def answers(running: Running, version: str) -> set[tuple[int, str | None, float | None]]:
    """What connections of all workers are answered: status, version and value."""
    found = set()
    for _ in range(40):
        path = f"{running.url}/models/thermometer{version}/predict"
        document = (response := httpx.post(path, json={"fahrenheit": [50.0]}, timeout=30)).json()
        value = document["predictions"]["celsius"][0] if response.status_code == 200 else None
        found.add((response.status_code, document.get("version"), value))
    return found


def test_a_replaced_worker_serves_what_the_others_serve(artifacts: Path) -> None:
    """No other bytes under a number, though there is no record, and no other default, though its label is damaged."""
    model = artifacts / "thermometer"
    assert train(["label", "thermometer", "champion", "1", "--artifacts", str(artifacts)]) == 0
    shutil.rmtree(model / "digests")
    with serving(artifacts, "--workers", "2", *QUICK) as running:
        running.until(
            lambda _: all(status == 200 for status, *_ in answers(running, "/versions/2") | answers(running, "")), 60
        )
        second, default = answers(running, "/versions/2"), answers(running, "")
        assert len(second) == len(default) == 1
        (model / "labels" / "champion").write_text("")
        for path in (model / "1").iterdir():
            shutil.copy(path, model / "2" / path.name)
        before = workers(running)
        os.kill(min(before), signal.SIGKILL)
        running.until(lambda _: len(workers(running) - before) == 1, 60)
        refused = "differ from what the other workers serve"
        running.until(lambda _: refused in httpx.get(f"{running.url}/models", timeout=30).text, 60)
        assert answers(running, "") == default
        assert answers(running, "/versions/2") <= second | {(503, None, None)}


def test_a_change_that_hides_its_time_is_noticed(artifacts: Path) -> None:
    """A byte that is written in place, with the file's time set back, is a difference."""
    report = artifacts / "thermometer" / "1" / "report.json"
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: celsius(client, 1) is not None)
        before = report.stat()
        with report.open("r+b") as file:
            file.write(b" ")
        os.utime(report, ns=(before.st_atime_ns, before.st_mtime_ns))
        running.until(lambda client: "its files have changed since" in reason(client, 1))

"""A folder that is damaged before the service starts, labels that come and go, and what training makes of odd files."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import odd
from folders import QUICK, SECONDS, answering, check, label, warnings
from running import Running, serving
from training.__main__ import main as train

Make = Callable[[Path], None]


@pytest.mark.parametrize("make", [odd.fifo, odd.folder, odd.unreadable, odd.holding(b"abc")])
def test_at_a_start_a_damaged_champion_leaves_the_model_without_a_default(artifacts: Path, make: Make) -> None:
    """Nobody can know what a damaged champion stood for: 503 with the repair, explicit versions answer, check fails."""
    odd.put(make, artifacts / "thermometer" / "labels" / "champion")
    status, text = check(artifacts)
    assert status == 1
    assert "labels/champion" in text
    with serving(artifacts, *QUICK, through=odd.UNPRIVILEGED) as running:
        running.until(lambda client: answering(client, "/models/thermometer/versions/2/predict") == "2")
        for path in ("/predict", "/models/thermometer/predict", "/models/thermometer/versions/champion/predict"):
            refused = running.client.post(path, json={"fahrenheit": [50.0]})
            assert refused.status_code == 503
            assert "python -m training label thermometer champion N" in refused.json()["detail"]
        assert running.client.get("/readyz").status_code == 503
        assert running.client.get("/models/thermometer").json()["default_version"] is None
        if make is odd.folder:  # what it holds, only its owner can know
            (artifacts / "thermometer" / "labels" / "champion" / "1").unlink()
        label(artifacts, "thermometer", "champion", 1)
        running.until(lambda client: answering(client) == "1", SECONDS)
        assert running.client.get("/readyz").status_code == 200
    assert check(artifacts)[0] == 0


@pytest.mark.parametrize("make", [odd.fifo, odd.dangling])
def test_at_a_start_odd_labels_leave_the_model_without_a_default(artifacts: Path, make: Make) -> None:
    """Where the folder of labels cannot be read, nobody can know whether there is a champion."""
    odd.put(make, artifacts / "thermometer" / "labels")
    with serving(artifacts, *QUICK, through=odd.UNPRIVILEGED) as running:
        running.until(lambda client: answering(client, "/models/thermometer/versions/2/predict") == "2")
        assert answering(running.client) is None
        assert "labels" in running.client.get("/readyz").json()["detail"]
    assert check(artifacts)[0] == 1


@pytest.mark.parametrize("make", [odd.fifo, odd.holding(b"\0")])
def test_at_a_start_an_odd_default_model_is_not_guessed(artifacts: Path, make: Make) -> None:
    """With several models an unnamed request is answered 503 with the repair, and a named one as ever."""
    odd.put(make, artifacts / "default_model.txt")
    with serving(artifacts, *QUICK, through=odd.UNPRIVILEGED) as running:
        running.until(lambda client: answering(client) == "1")
        refused = running.client.post("/predict", json={"fahrenheit": [50.0]})
        assert refused.status_code == 503
        assert "default_model.txt" in refused.json()["detail"]
        assert running.client.get("/readyz").status_code == 503
    assert check(artifacts)[0] == 1


def test_at_a_start_an_odd_model_hides_no_other(artifacts: Path) -> None:
    """Entries that could be models and are no folders are named, and `check` fails."""
    odd.put(odd.fifo, artifacts / "other")
    (artifacts / "looping").symlink_to("looping")
    (artifacts / "notes").write_text("of somebody")
    status, text = check(artifacts)
    assert status == 1
    assert all(name in text for name in ("other", "looping", "notes"))
    with serving(artifacts, *QUICK) as running:
        running.until_ready()
        assert "other: is not a folder" in running.client.get("/models").json()["warnings"]


def test_a_label_of_a_version_that_is_not_there_is_warned_of(artifacts: Path) -> None:
    """The label goes on standing for its version, /models says so, and `check` fails."""
    with serving(artifacts, *QUICK) as running:
        running.until_ready()
        running.until(lambda client: answering(client, "/models/thermometer/versions/2/predict") == "2")
        odd.put(odd.holding(b"9"), artifacts / "thermometer" / "labels" / "champion")
        running.until(lambda client: "names version 9, which is not there" in warnings(client), SECONDS)
        assert "goes on standing for version 1" in warnings(running.client)
        assert answering(running.client) == "1"
    assert check(artifacts)[0] == 1


def test_a_removed_label_is_removed(artifacts: Path) -> None:
    """Without a champion the highest version answers, and there is nothing to warn of."""
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: answering(client) == "1")
        (artifacts / "thermometer" / "labels" / "champion").unlink()
        running.until(lambda client: answering(client) == "2", SECONDS)
        assert not warnings(running.client)


def test_an_empty_folder_in_place_of_the_labels_removes_none(artifacts: Path, tmp_path: Path) -> None:
    """As where a mount is gone; what the labels stood for goes on, until a label is there again."""
    labels = artifacts / "thermometer" / "labels"
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: answering(client) == "1")
        labels.rename(tmp_path / "gone")
        labels.mkdir()
        running.until(lambda client: "is it mounted?" in warnings(client), SECONDS)
        time.sleep(0.5)
        assert answering(running.client) == "1"
        label(artifacts, "thermometer", "candidate", 2)
        running.until(lambda client: answering(client) == "2", SECONDS)
        assert not warnings(running.client)


def test_a_worker_that_starts_later_learns_the_labels_of_a_folder_that_is_gone(artifacts: Path, tmp_path: Path) -> None:
    """It sees nothing but an empty folder, and serves what the others serve."""
    labels = artifacts / "thermometer" / "labels"
    with serving(artifacts, "--workers", "2", *QUICK) as running:
        running.until_all_ready(2)
        labels.rename(tmp_path / "gone")
        labels.mkdir()
        running.until(lambda _: all("is it mounted?" in warned(running) for _ in range(10)), 30)
        running.replace_a_worker()
        running.until_all_ready(2)
        assert running.versions() == {"1"}
        assert "is it mounted?" in warned(running)


def warned(running: Running) -> str:
    """What some worker says is wrong with the thermometer's folder."""
    return httpx.get(f"{running.url}/models/thermometer", timeout=30).text


def test_linked_models_go_on_working(artifacts: Path, tmp_path: Path) -> None:
    """A model's folder, and its folder of labels, may be links to folders."""
    (artifacts / "thermometer" / "labels").rename(tmp_path / "labels")
    (artifacts / "thermometer" / "labels").symlink_to(tmp_path / "labels")
    (artifacts / "thermometer").rename(tmp_path / "elsewhere")
    (artifacts / "thermometer").symlink_to(tmp_path / "elsewhere")
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: answering(client) == "1")
        assert not warnings(running.client)


def test_training_waits_for_no_odd_file(artifacts: Path) -> None:
    """A FIFO at any place that publication writes to or reads from is replaced or refused, and never waited for."""
    model = artifacts / "thermometer"
    for path in (
        model / ".publishing-x",
        model / "digests" / ".3",
        model / "digests" / "3",
        model / "labels" / ".candidate",
    ):
        odd.fifo(path)
    odd.fifo(model / "labels" / "candidate")
    command = [sys.executable, "-m", "training", "fit", "--epochs", "3", "--artifacts", str(artifacts)]
    assert subprocess.run(command, timeout=60, check=False, capture_output=True).returncode == 0
    label(artifacts, "thermometer", "candidate", 3)
    assert (model / "labels" / "candidate").read_text() == "3\n"
    odd.put(odd.fifo, model / "labels" / "champion")
    command = ["evaluate", "--data", "training/data/thermometer.csv", "--model", "thermometer"]
    assert train([*command, "--artifacts", str(artifacts)]) == 2


def test_the_log_says_it_once(artifacts: Path) -> None:
    """A label that stays damaged is one line of the log, however often the folder is looked at."""
    command = [sys.executable, "-m", "service", "serve", "--artifacts", str(artifacts), "--port", "0", *QUICK]
    odd.put(odd.holding(b"abc"), artifacts / "thermometer" / "labels" / "champion")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        url = next(found[1] for line in process.stderr if (found := re.search(r"running on (http://[^\s\"]+)", line)))
        with httpx.Client(base_url=url) as client:
            running = Running(process, url, artifacts, client)
            running.until(lambda client: "labels/champion" in client.get("/models").text)
            for number in range(20):  # so that it was looked at again
                name = f"label{number}"
                (artifacts / "thermometer" / "labels" / name).write_text("1")
                running.until(lambda client, name=name: name in client.get("/models").text)  # type: ignore[misc]
        process.terminate()
        assert sum("labels/champion" in line for line in process.stderr) == 1

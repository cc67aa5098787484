"""A version with other columns than its model's first one is published, and does not answer by itself."""

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from running import publish, serving
from service import client as asking
from training.__main__ import main as train

QUICK = ("--refresh-seconds", "0.05")
OTHER = {
    "another feature": ("kelvin,celsius", ()),
    "another target": ("fahrenheit,kelvin", ()),
    "one more feature": ("fahrenheit,noise,celsius", ()),
    "one more target": ("fahrenheit,celsius,kelvin", ("--target", "celsius", "--target", "kelvin")),
    "another unit": ("fahrenheit,celsius", ("--unit", "celsius=K", "--unit", "fahrenheit=degF")),
}


def data(folder: Path, header: str) -> Path:
    """Readings with these columns."""
    path = folder / "other.csv"
    rows = [[row + column * 0.5 + row * row % 3 for column in range(header.count(",") + 1)] for row in range(12)]
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return path


def default(client: httpx.Client) -> str | None:
    """The version that answers by itself."""
    version: str | None = client.get("/models/thermometer").json().get("default_version")
    return version


def ready(client: httpx.Client, version: str) -> bool:
    """Whether that version serves."""
    return bool(client.get(f"/models/thermometer/versions/{version}").json().get("state") == "ready")


@pytest.mark.parametrize("how", OTHER)
def test_other_columns_do_not_go_live(tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The version answers by its number, `fit` and /models say why and how to change that, and a label does."""
    artifacts = tmp_path / "artifacts"
    header, flags = OTHER[how]
    publish(artifacts)
    with serving(artifacts, *QUICK) as running:
        running.until_ready()
        capsys.readouterr()
        publish(artifacts, "--data", str(data(tmp_path, header)), "--model", "thermometer", *flags)
        said = capsys.readouterr().out
        command = "python -m training label thermometer champion 2"
        assert command in said
        assert "models/thermometer/versions/2/predict" in said
        running.until(lambda client: ready(client, "2"))
        assert default(running.client) == "1"
        reason = running.client.get("/models/thermometer/versions/2").json()["reason"]
        assert "fahrenheit [degF] -> celsius [degC]" in reason
        assert command in reason
        assert running.client.post("/predict", json={"fahrenheit": [50.0]}).status_code == 200
        assert running.client.get("/v2/models/thermometer").json()["versions"] == ["1", "2"]
        with asking.Client(running.url) as client:
            assert client.predict({"fahrenheit": [50.0]}, model="thermometer")["celsius"]
        publish(artifacts)
        running.until(lambda client: default(client) == "3")
        assert not running.client.get("/models/thermometer/versions/3").json()["reason"]
        assert train([*command.split()[3:], "--artifacts", str(artifacts)]) == 0
        running.until(lambda client: default(client) == "2")
        assert not running.client.get("/models/thermometer/versions/2").json()["reason"]


def test_a_restart_agrees(tmp_path: Path) -> None:
    """What answers by itself follows from the folder alone: after a start, in `check`, and in `evaluate`."""
    artifacts = tmp_path / "artifacts"
    publish(artifacts)
    publish(artifacts)
    publish(artifacts, "--data", str(data(tmp_path, "kelvin,celsius")), "--model", "thermometer")
    command = [sys.executable, "-m", "service", "check", "--artifacts", str(artifacts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "answers only by its number" in done.stdout.splitlines()[2]
    given = ["--data", "training/data/thermometer.csv", "--model", "thermometer", "--artifacts", str(artifacts)]
    assert train(["evaluate", *given]) == 0
    with serving(artifacts, "--workers", "2", *QUICK) as running:
        running.until(
            lambda _: all(httpx.get(f"{running.url}/readyz", timeout=30).status_code == 200 for _ in range(20)), 60
        )
        models = [httpx.get(f"{running.url}/models/thermometer", timeout=30).json() for _ in range(20)]
        assert {model["default_version"] for model in models} == {"2"}


def test_a_unit_that_is_not_known_is_no_difference(tmp_path: Path) -> None:
    """A version without units answers by itself after one with them."""
    publish(tmp_path / "artifacts")
    publish(tmp_path / "artifacts", "--data", str(data(tmp_path, "fahrenheit,celsius")), "--model", "thermometer")
    with serving(tmp_path / "artifacts", *QUICK) as running:
        running.until(lambda client: default(client) == "2")


def test_the_lowest_version_says_which_columns_though_it_does_not_load(tmp_path: Path) -> None:
    """Its manifest does: that its network is damaged, or cannot be read for a moment, moves nobody to other columns."""
    artifacts = tmp_path / "artifacts"
    publish(artifacts)
    for _ in range(2):
        publish(artifacts, "--data", str(data(tmp_path, "kelvin,celsius")), "--model", "thermometer")
    publish(artifacts)
    (artifacts / "thermometer" / "1" / "network.pt").unlink()
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: ready(client, "4"))
        running.until(lambda client: ready(client, "3"))
        assert default(running.client) == "4"


def damaged_beside_others(tmp_path: Path) -> Path:
    """Version 1 with the thermometer's columns, 2 with others, 3 with the thermometer's; 1 cannot be read."""
    artifacts = tmp_path / "artifacts"
    publish(artifacts)
    publish(artifacts, "--data", str(data(tmp_path, "kelvin,celsius")), "--model", "thermometer")
    publish(artifacts)
    return artifacts


def test_where_nobody_can_know_the_columns_a_label_says(tmp_path: Path) -> None:
    """The model has no default, `check` and /models say why, versions that are named answer, and a label helps."""
    artifacts = damaged_beside_others(tmp_path)
    (artifacts / "thermometer" / "1" / "manifest.json").write_text("{}")
    said = "nobody can know those of version 1"
    command = [sys.executable, "-m", "service", "check", "--artifacts", str(artifacts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stdout
    given = ["--data", "training/data/thermometer.csv", "--model", "thermometer", "--artifacts", str(artifacts)]
    assert train(["evaluate", *given]) == 2
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: ready(client, "2") and ready(client, "3"))
        assert default(running.client) is None
        running.until(lambda client: said in str(client.get("/models/thermometer").json()["warnings"]))
        assert running.client.get("/readyz").status_code == 503
        assert running.client.post("/predict", json={"fahrenheit": [50.0]}).status_code == 503
        path = "/models/thermometer/versions/3/predict"
        assert running.client.post(path, json={"fahrenheit": [50.0]}).status_code == 200
        assert train(["label", "thermometer", "champion", "3", "--artifacts", str(artifacts)]) == 0
        running.until(lambda client: default(client) == "3")
        assert running.client.get("/readyz").status_code == 200


def test_what_nobody_can_know_moves_no_default_while_it_serves(tmp_path: Path) -> None:
    """A version with other columns comes: the default stays, the next start is warned of, and a new worker agrees."""
    artifacts = damaged_beside_others(tmp_path)
    shutil.rmtree(artifacts / "thermometer" / "2")
    (artifacts / "thermometer" / "1" / "manifest.json").write_text("{}")
    with serving(artifacts, "--workers", "2", *QUICK) as running:
        running.until_all_ready(2)
        publish(artifacts, "--data", str(data(tmp_path, "kelvin,celsius")), "--model", "thermometer")
        said = "version 3 stays it until the next start"
        running.until(lambda _: all(said in httpx.get(f"{running.url}/models", timeout=30).text for _ in range(10)), 60)
        running.replace_a_worker()
        running.until_all_ready(2)
        assert running.versions() == {"3"}


def test_the_columns_of_a_removed_version_are_those_of_the_next(tmp_path: Path) -> None:
    """Also where that one did not load, while it serves as after a start."""
    artifacts = tmp_path / "artifacts"
    publish(artifacts)
    for _ in range(2):
        publish(artifacts, "--data", str(data(tmp_path, "kelvin,celsius")), "--model", "thermometer")
    publish(artifacts)
    (artifacts / "thermometer" / "2" / "network.pt").unlink()
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: default(client) == "4")
        running.until(lambda client: ready(client, "3"))
        shutil.rmtree(artifacts / "thermometer" / "1")
        running.until(lambda client: default(client) == "3")


def test_a_worker_that_starts_later_goes_by_the_same_columns(tmp_path: Path) -> None:
    """Also where the lowest version was damaged meanwhile, which the other worker still has in memory."""
    artifacts = damaged_beside_others(tmp_path)
    with serving(artifacts, "--workers", "2", *QUICK) as running:
        running.until(lambda _: httpx.get(f"{running.url}/readyz", timeout=30).status_code == 200, 60)
        (artifacts / "thermometer" / "1" / "manifest.json").write_text("{}")
        running.replace_a_worker()
        running.until(lambda _: "failed" in httpx.get(f"{running.url}/models/thermometer", timeout=30).text, 60)
        running.until_all_ready(2)
        assert running.versions() == {"3"}

"""A version with other columns than its model's first one is published, and does not answer by itself."""

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


def test_the_lowest_version_that_loads_says_which_columns(tmp_path: Path) -> None:
    """A broken first version has no say."""
    artifacts = tmp_path / "artifacts"
    publish(artifacts)
    for _ in range(2):
        publish(artifacts, "--data", str(data(tmp_path, "kelvin,celsius")), "--model", "thermometer")
    publish(artifacts)
    (artifacts / "thermometer" / "1" / "network.pt").unlink()
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: ready(client, "4"))
        running.until(lambda client: ready(client, "3"))
        assert default(running.client) == "3"

"""A version that failed for a lack that passes goes live once it has passed; a lasting fault is not tried again."""

import json
import os
import resource
import shutil
from pathlib import Path

import httpx
import pytest

import odd
from running import publish, serving
from spoiling import replace

QUICK = ("--refresh-seconds", "0.05")
PATH = "/models/thermometer/versions/2"


def look(client: httpx.Client) -> tuple[str | None, str]:
    """The state of the second version, and why."""
    document = client.get(PATH).json()
    return document.get("state"), document.get("reason") or ""


@pytest.mark.parametrize("name", ["manifest.json", "network.pt", "."])
def test_what_could_not_be_read_is_tried_again(tmp_path: Path, name: str) -> None:
    """A version that may not be read says that it is tried again, and goes live when it may; no file was touched."""
    publish(tmp_path)
    publish(tmp_path)
    path = tmp_path / "thermometer" / "2" / name
    mode = path.stat().st_mode
    path.chmod(0)
    with serving(tmp_path, *QUICK, through=odd.UNPRIVILEGED) as running:
        running.until(lambda client: look(client)[0] == "failed")
        assert "permission denied; it is tried again" in look(running.client)[1]
        assert 'calibrant_failed_loads_total{model="thermometer"} 1.0' in running.client.get("/metrics").text
        running.until(lambda client: len(client.get("/models").json()["models"]) == 1)
        path.chmod(mode)
        running.until(lambda client: look(client) == ("ready", ""))


def test_memory_that_was_not_there_is_there_later(tmp_path: Path) -> None:
    """With too little address space a large version fails, the small one serves on, and both serve with more of it."""
    publish(tmp_path)
    model = tmp_path / "thermometer"
    shutil.copytree(model / "1", model / ".large")
    replace(model / ".large", "extra.bin", bytes(2**26))
    with serving(tmp_path, *QUICK) as running:
        running.until_ready()
        used = int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.prlimit(running.process.pid, resource.RLIMIT_AS)
        resource.prlimit(running.process.pid, resource.RLIMIT_AS, (used + 2**25, most))
        (model / ".large").rename(model / "2")
        running.until(lambda client: look(client)[0] == "failed")
        assert "it is tried again" in look(running.client)[1]
        assert running.client.post("/predict", json={"fahrenheit": [50.0]}).json()["version"] == "1"
        resource.prlimit(running.process.pid, resource.RLIMIT_AS, (most, most))
        running.until(lambda client: look(client) == ("ready", ""))


def test_files_that_could_not_be_opened_are_opened_later(tmp_path: Path) -> None:
    """A process with as many open files as it may have takes nothing out of service, and finds what came meanwhile."""
    publish(tmp_path)
    with serving(tmp_path, *QUICK) as running:
        running.until_ready()
        _, most = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        for spare in range(4):
            opened = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (opened + spare, most))
            publish(tmp_path)
            for _ in range(20):
                assert running.client.post("/predict", json={"fahrenheit": [50.0]}).status_code == 200
            resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (most, most))
            newest = str(2 + spare)
            running.until(lambda client: client.get("/models/thermometer").json()["default_version"] == newest)  # noqa: B023


def test_a_lasting_fault_is_not_tried_again(tmp_path: Path) -> None:
    """A version with a wrong manifest is loaded once, and its reason does not promise more."""
    publish(tmp_path)
    publish(tmp_path)
    manifest = tmp_path / "thermometer" / "2" / "manifest.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "format": "calibrant/9"}))
    with serving(tmp_path, *QUICK) as running:
        running.until(lambda client: look(client)[0] == "failed")
        assert "tried again" not in look(running.client)[1]


_FULL = """
import service.predictor
run = service.predictor.Predictor.run
def full(self, rows):
    if (rows == 77.0).any():
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    return run(self, rows)
service.predictor.Predictor.run = full
"""


def test_a_request_for_which_memory_lacks_may_come_again(thermometer: Path, tmp_path: Path) -> None:
    """It is answered 503 with Retry-After, and the service goes on."""
    (tmp_path / "sitecustomize.py").write_text(_FULL)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
    with serving(thermometer, environment=environment) as running:
        running.until_ready()
        refused = running.client.post("/predict", json={"fahrenheit": [77.0]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "too little memory" in refused.json()["detail"]
        assert running.client.post("/predict", json={"fahrenheit": [50.0]}).status_code == 200

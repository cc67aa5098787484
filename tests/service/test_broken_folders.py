"""Whatever is wrong with the artifacts folder: live, not ready, looking again, with one process and with three."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from running import Running, publish, serving


def nothing(artifacts: Path) -> None:
    """There is no folder."""


def a_file(artifacts: Path) -> None:
    """A file is where the folder should be."""
    artifacts.write_text("")


def a_loop(artifacts: Path) -> None:
    """A link that leads to itself."""
    artifacts.symlink_to(artifacts)


def a_label_that_is_a_folder(artifacts: Path) -> None:
    """Beside a version."""
    publish(artifacts)
    (artifacts / "thermometer" / "labels" / "champion").mkdir(parents=True)


def only_broken_versions(artifacts: Path) -> None:
    """Two of them, broken in two ways."""
    for number in ("1", "2"):
        publish(artifacts)
        (artifacts / "thermometer" / number / "manifest.json").write_text("{" * int(number))


def processes(running: Running) -> set[str]:
    """Who answers: each process has its own beginning of request ids."""
    answers = [running.client.get("/livez", headers={"connection": "close"}) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.headers["x-request-id"].partition("-")[0] for answer in answers}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("breaks", [nothing, a_file, a_loop, a_label_that_is_a_folder, only_broken_versions])
def test_a_broken_folder_ends_no_process(tmp_path: Path, workers: int, breaks: Callable[[Path], None]) -> None:
    """None crashes or is started anew; all say why they are not ready; a good version makes them ready."""
    artifacts = tmp_path / "artifacts"
    breaks(artifacts)
    with serving(artifacts, "--workers", str(workers), "--refresh-seconds", "0.05") as running:
        running.until(lambda client: client.get("/livez").status_code == 200)
        running.until(lambda _: len(processes(running)) == workers, 60)  # each of them imports torch
        before = processes(running)
        refused = running.client.get("/readyz")
        assert refused.status_code == 503
        assert refused.json()["detail"]
        _mend(artifacts)
        running.until(lambda client: all(client.get("/readyz").status_code == 200 for _ in range(20)), 60)
        assert processes(running) == before
        assert running.process.poll() is None


def _mend(artifacts: Path) -> None:
    if artifacts.is_symlink() or artifacts.is_file():
        artifacts.unlink()
    elif artifacts.is_dir():
        shutil.rmtree(artifacts)
    publish(artifacts)
    os.sync()

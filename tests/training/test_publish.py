"""Publication: whole or not at all, whoever else publishes, and whatever happens meanwhile."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from service import artifact
from training import publish
from training.errors import InvalidInputError

Command = Callable[..., tuple[int, str, str]]
Process = Callable[..., "subprocess.Popen[str]"]

PREPARE = """
import os, random, signal, sys, time
from pathlib import Path
from training.publish import publish
source, artifacts, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
contents = {path.name: path.read_bytes() for path in source.iterdir()}
"""

PUBLISHER = f"""{PREPARE}
for _ in range(times):
    publish(artifacts, "thermometer", contents)
"""

# Each child publishes until it is killed.
KILLED = f"""{PREPARE}
for _ in range(times):
    child = os.fork()
    while not child:
        publish(artifacts, "thermometer", contents)
    time.sleep(random.uniform(0, 0.5))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def contents(version: Path) -> dict[str, bytes]:
    """The files of a version."""
    return {path.name: path.read_bytes() for path in version.iterdir()}


def fail_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the given fsync, counted from 1, find a full disk."""
    calls = count(1)
    real = os.fsync

    def failing(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)


def test_versions_count_from_1_and_follow_the_highest(published: Path, command: Command) -> None:
    """A gap is not filled, the tenth comes after the ninth, and old versions are left as they were."""
    before = contents(published)
    published.parent.joinpath("1").rename(published.parent / "9")
    command("fit", "--epochs", 1, "--artifacts", published.parents[1])
    assert artifact.versions(published.parent) == [9, 10]
    assert contents(published.parent / "9") == before


def test_a_file_that_is_called_like_a_version_stops_no_publisher(published: Path, command: Command) -> None:
    """Numbers go on from the highest folder, past files of such names; where none is left, that is said."""
    model = published.parent
    (model / "2").touch()
    (model / "999999999999999999").touch()
    assert command("fit", "--epochs", 1, "--artifacts", model.parent)[0] == 0
    assert (model / "3" / "manifest.json").is_file()
    (model / "999999999999999999").unlink()
    (model / "999999999999999999").mkdir()
    status, _, error = command("fit", "--epochs", 1, "--artifacts", model.parent)
    assert status == 2
    assert "no number is left behind version 999999999999999999" in error


def test_the_manifest_says_what_is_needed_to_use_the_network(published: Path) -> None:
    """Format, columns, files, golden cases, losses, digest, seed and versions are in it; files are readable by all."""
    manifest = json.loads((published / "manifest.json").read_text())
    assert manifest["format"] == "calibrant/1"
    assert manifest["features"][0]["unit"] == "degF"
    assert manifest["training"]["seed"] == 0
    assert manifest["training"]["data"]["rows"] == 11
    assert set(manifest["training"]["environment"]) == {"calibrant", "machine", "numpy", "python", "torch"}
    assert {path.name for path in published.iterdir()} == {"manifest.json", "network.pt", "report.json"}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in published.iterdir())


def test_two_publishers_at_once_get_two_versions(published: Path, process: Process) -> None:
    """Two processes that publish ten each end with twenty more versions, all of them sound."""
    publishers = [process("-c", PUBLISHER, published, published.parents[1], 10) for _ in range(2)]
    for publisher in publishers:
        assert publisher.communicate(timeout=60)[1] == ""
    assert artifact.versions(published.parent) == list(range(1, 22))
    for number in range(1, 22):
        artifact.read(published.parent / str(number))
    assert not list(published.parent.glob(".*"))


def test_a_publisher_killed_at_any_moment_leaves_only_whole_versions(published: Path, process: Process) -> None:
    """After thirty kills every version that has a number is sound, and the next publisher clears up."""
    model = published.parent
    source = model.parent.parent / "source"
    shutil.copytree(published, source)
    killer = process("-c", KILLED, source, model.parent, 30)
    assert killer.communicate(timeout=60)[1] == ""
    numbers = artifact.versions(model)
    assert len(numbers) > 1
    for number in numbers:
        assert contents(model / str(number)) == contents(source)
    publish.publish(model.parent, "thermometer", contents(source))
    assert not list(model.glob(".*"))


@pytest.mark.parametrize("name", ["network.pt", "report.json", "manifest.json"])
def test_a_version_that_the_reader_refuses_gets_no_number(name: str, published: Path) -> None:
    """What is staged is read back before it is renamed."""
    spoiled = {**contents(published), name: b"{}"}
    with pytest.raises(artifact.ArtifactError, match=name):
        publish.publish(published.parents[1], "thermometer", spoiled)
    assert {path.name for path in published.parent.iterdir()} == {"1", "digests"}
    assert [path.name for path in (published.parent / "digests").iterdir()] == ["1"]


@pytest.mark.parametrize("call", range(1, 12))
def test_a_full_disk_at_any_step_leaves_what_was_there(
    call: int, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever fsync fails, there is a whole new version or none, and no other trace."""
    files = contents(published)
    fail_at(call, monkeypatch)
    try:
        publish.publish(published.parents[1], "thermometer", files)
    except InvalidInputError as refused:
        assert "No space left on device" in str(refused)  # noqa: PT017 - the later calls are not reached
    monkeypatch.undo()
    for number in artifact.versions(published.parent):
        artifact.read(published.parent / str(number))
    assert {path.name for path in published.parent.iterdir()} - {"1", "2"} == {"digests"}


def test_a_first_version_that_fails_leaves_no_model(published: Path, tmp_path: Path) -> None:
    """The directory made for a new model goes with it."""
    with pytest.raises(artifact.ArtifactError):
        publish.publish(tmp_path / "new", "thermometer", {**contents(published), "network.pt": b""})
    assert list((tmp_path / "new").iterdir()) == []


def test_a_directory_removed_while_waiting_for_it_is_made_again(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher never writes into a directory that nobody can find any more."""
    real = fcntl.flock
    removed: list[bool] = []

    def removing(descriptor: int, operation: int) -> None:
        if not removed:
            (tmp_path / "new" / "thermometer").rmdir()
            removed.append(True)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removing)
    version = publish.publish(tmp_path / "new", "thermometer", contents(published))
    assert removed
    artifact.read(version)


def test_a_publisher_says_that_it_waits_and_does_not_wait_for_ever(
    published: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that holds the model's folder is waited for, which is said, for a limited time."""
    monkeypatch.setattr(publish, "_WAIT_SECONDS", 2)
    holder = os.open(published.parent, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        status, _, error = command("label", "thermometer", "champion", 1, "--artifacts", published.parents[1])
    finally:
        os.close(holder)
    assert status == 2
    assert "waiting for another process" in error
    assert "has held its lock for 2 s" in error


def test_what_a_dead_publisher_left_is_removed(published: Path) -> None:
    """Hidden leftovers do not pile up, and are never taken for versions."""
    leftover = published.parent / ".publishing-2"
    leftover.mkdir()
    (leftover / "network.pt").write_bytes(b"half")
    assert artifact.versions(published.parent) == [1]
    assert publish.publish(published.parents[1], "thermometer", contents(published)).name == "2"
    assert {path.name for path in published.parent.iterdir()} == {"1", "2", "digests"}


def test_a_label_names_a_version_and_moves(published: Path, command: Command) -> None:
    """Label writes the number, moves it on the next call, and leaves nothing else."""
    command("fit", "--epochs", 1, "--artifacts", published.parents[1])
    for version in (1, 2):
        flags = ["label", "thermometer", "champion", version, "--artifacts", published.parents[1]]
        assert command(*flags) == (0, f"thermometer: champion is version {version}\n", "")
        assert artifact.labels(published.parent).versions == {"champion": version}
    assert [path.name for path in (published.parent / "labels").iterdir()] == ["champion"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["thermometer", "champion", "2"], "thermometer/2: there is no such version"),
        (["barometer", "champion", "1"], "barometer: No such file or directory"),
        (["thermometer", "Champion", "1"], "'Champion': must be lower-case letters"),
        (["../thermometer", "champion", "1"], "'../thermometer': must be lower-case letters"),
        (["thermometer", "champion", "0"], "argument version: '0' is not a whole number"),
    ],
)
def test_a_label_that_cannot_be_set_is_refused(
    arguments: list[str], message: str, published: Path, command: Command
) -> None:
    """One line, status 2, and no label."""
    status, out, error = command("label", *arguments, "--artifacts", published.parents[1])
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert message in error
    assert artifact.labels(published.parent).versions == {}


@pytest.mark.parametrize("call", [1, 2])
def test_a_label_that_cannot_be_written_stays_where_it_was(
    call: int, published: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk leaves the old label and no unfinished file."""
    flags = ["label", "thermometer", "champion", 1, "--artifacts", published.parents[1]]
    command(*flags)
    fail_at(call, monkeypatch)
    status, _, error = command(*flags)
    assert status == 2
    assert "No space left on device" in error
    assert [path.name for path in (published.parent / "labels").iterdir()] == ["champion"]

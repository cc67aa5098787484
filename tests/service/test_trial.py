"""A version that ends the process which loads it, or never lets go of it, is refused; the service lives and answers."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import pytest

from running import Running, serving
from spoiling import replace
from zips import packed

MODEL = "thermometer"
# In the service: a network that got past every check, and does something to the process that loads it.
_MISBEHAVIOUR = """
import os, signal, time
import torch
import service.trial
service.trial.SECONDS = {seconds}
load = torch.jit.load
def misbehave(file, *args, **kwargs):
    if {marker!r} in file.getvalue():
        {statement}
    return load(file, *args, **kwargs)
torch.jit.load = misbehave
"""
ENDINGS = {
    "abort": ("os.abort()", "network.pt: the process died of signal 6 in which it was tried"),
    "segmentation fault": (
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "network.pt: the process died of signal 11 in which it was tried",
    ),
    "killed": ("os.kill(os.getpid(), 9)", "network.pt: the process died of signal 9 in which it was tried"),
    "exit": ("os._exit(3)", "network.pt: the process ended with 3 in which it was tried"),
    "endless": ("while True: pass", "network.pt: was not loaded when it was tried: it computed for more than 3 s"),
    "stuck": ("time.sleep(1000)", "network.pt: was not loaded when it was tried: the child stood still"),
    "memory": ("bytearray(2**31)", "network.pt: torch cannot load it: MemoryError"),
}


def misbehaving(version: Path, folder: Path, statement: str, seconds: float = 60) -> dict[str, str]:
    """Mark the version's network, and return an environment in which torch does this when it is given those bytes."""
    with zipfile.ZipFile(version / "network.pt") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    longest = max((name for name in contents if name.startswith("archive/data/")), key=lambda name: len(contents[name]))
    marked = bytearray(contents[longest])
    marked[0] ^= 1
    replace(version, "network.pt", packed({**contents, longest: bytes(marked)}))
    folder.mkdir()
    patch = _MISBEHAVIOUR.format(marker=bytes(marked), statement=statement, seconds=seconds)
    (folder / "sitecustomize.py").write_text(patch)
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}


def two_versions(thermometer: Path, folder: Path) -> tuple[Path, Path]:
    """Return a folder with version 1, and version 2 beside it, which is not published yet."""
    artifacts = shutil.copytree(thermometer, folder / "artifacts")
    return artifacts, shutil.copytree(artifacts / MODEL / "1", folder / MODEL / "2")


def state(client: httpx.Client, number: int) -> tuple[str, str | None]:
    """Return the version's state, and the reason."""
    versions = client.get(f"/models/{MODEL}").json()["versions"]
    return next(((one["state"], one["reason"]) for one in versions if one["version"] == str(number)), ("", None))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_version_that_ends_the_process_is_refused_and_the_others_serve(
    ending: str, thermometer: Path, tmp_path: Path
) -> None:
    """The process that tries the version dies; the service says how, and goes on."""
    statement, reason = ENDINGS[ending]
    artifacts, second = two_versions(thermometer, tmp_path)
    environment = misbehaving(second, tmp_path / "patched", statement, 3 if ending == "endless" else 60)
    with serving(artifacts, "--refresh-seconds", "0.1", environment=environment) as running:
        running.until_ready()
        before = running.client.post("/predict", json={"fahrenheit": [212]}).json()
        second.rename(artifacts / MODEL / "2")
        running.until(lambda client: state(client, 2)[0] == "failed", 60)
        assert str(state(running.client, 2)[1]).startswith(reason)
        assert running.client.post("/predict", json={"fahrenheit": [212]}).json() == before
        assert running.process.poll() is None


def test_a_child_that_stands_still_once_is_followed_by_another(thermometer: Path, tmp_path: Path) -> None:
    """A lock that was held as a child was forked does not condemn a good version."""
    artifacts, second = two_versions(thermometer, tmp_path)
    first = tmp_path / "was here"
    once = f"os.path.exists({str(first)!r}) or (open({str(first)!r}, 'w').close(), time.sleep(1000))"
    environment = misbehaving(second, tmp_path / "patched", once)
    with serving(artifacts, "--refresh-seconds", "0.1", environment=environment) as running:
        running.until_ready()
        second.rename(artifacts / MODEL / "2")
        running.until(lambda client: state(client, 2)[0] == "ready", 60)


def child(running: Running) -> int | None:
    """Return the process that tries a version, while there is one."""
    threads = Path(f"/proc/{running.process.pid}/task").iterdir()
    found = [pid for thread in threads for pid in (thread / "children").read_text().split()]
    return int(found[0]) if found else None


def test_the_process_that_tries_holds_nobody_s_connection_and_dies_with_the_service(
    thermometer: Path, tmp_path: Path
) -> None:
    """A client that was connected when the process began sees its connection closed, whatever the process does."""
    artifacts, second = two_versions(thermometer, tmp_path)
    environment = misbehaving(second, tmp_path / "patched", "time.sleep(1000)")
    with serving(artifacts, "--refresh-seconds", "0.1", environment=environment) as running:
        running.until_ready()
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(65536)
            second.rename(artifacts / MODEL / "2")
            running.until(lambda _: child(running) is not None)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            while connection.recv(65536):
                pass
        tried = child(running)
        assert tried is not None
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{tried}").exists() and "\nState:\tZ" not in Path(f"/proc/{tried}/status").read_text():
            assert time.monotonic() < deadline, "the process outlived the service"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_service_that_tries_a_version_stops_at_once(number: int, thermometer: Path, tmp_path: Path) -> None:
    """A version that takes long to load does not hold up the end of the service."""
    artifacts, second = two_versions(thermometer, tmp_path)
    environment = misbehaving(second, tmp_path / "patched", "time.sleep(1000)")
    with serving(artifacts, "--refresh-seconds", "0.1", environment=environment) as running:
        running.until_ready()
        second.rename(artifacts / MODEL / "2")
        running.until(lambda _: child(running) is not None)
        running.process.send_signal(number)
        running.process.wait(20)


def test_check_says_how_a_version_ended(thermometer: Path, tmp_path: Path) -> None:
    """The command tries versions as the service does, and its own process lives."""
    artifacts, second = two_versions(thermometer, tmp_path)
    environment = misbehaving(second, tmp_path / "patched", "os.abort()")
    second.rename(artifacts / MODEL / "2")
    command = [sys.executable, "-m", "service", "check", "--artifacts", str(artifacts)]
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    good, bad = ended.stdout.splitlines()
    assert "ready" in good
    assert "the process died of signal 6 in which it was tried" in bad

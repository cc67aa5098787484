"""Loads a version in a child process first, so that no file in the artifacts folder ends the process that serves.

Owns `Trials.read`, which is `artifact.read` for a service. What torch makes of a network is native code: should one
get past every check of its archive and end the process, or need all of its memory, that is the child's end.
"""

import contextlib
import ctypes
import gc
import math
import mmap
import os
import resource
import select
import signal
import sys
import time
from itertools import accumulate
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from service import artifact
from service.artifact import NETWORK, Artifact, ArtifactError, Contents, PublicKey
from service.predictor import BLOCK_ROWS, Predictor

# Of computing, however busy the machine is; the largest network takes a few.
SECONDS: Final = 20.0
_LOOK_SECONDS = 0.1
# A child that computes nothing for so long waits for a lock that a thread of the parent's held as it was forked.
_STUCK_SECONDS = 3.0
_ATTEMPTS = 3
# Beyond what the process has already. A network is copied, frozen and compiled, and a block of rows runs through it.
_FREE_BYTES = 2**30
_FREE_TIMES = 16
_FLOAT32_BYTES = 4

Gradients: TypeAlias = dict[str, npt.NDArray[np.float32]]

_GOOD = b"good"
_REPORT_MAX_BYTES = 4096
_PR_SET_PDEATHSIG = 1
# Loaded here, as the child had better load nothing.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Trials:
    """Reads versions for a service, each in a child first; one at a time."""

    def __init__(self) -> None:
        self._closed = False

    def close(self) -> None:
        """End the trial that runs, from any thread, and let no other one begin."""
        self._closed = True

    def read(self, directory: Path, public_key: PublicKey | None = None) -> Artifact:
        """Read one version as `artifact.read` does, after a child has loaded the same bytes and run a block of rows.

        Raises ArtifactError also where the child died, or was not done within SECONDS.
        """
        contents = artifact.contents(directory, public_key)
        gradients = _shared_gradients(contents)
        self._try(contents, gradients)
        return artifact.load(contents, {name: torch.from_numpy(each.copy()) for name, each in gradients.items()})

    def _try(self, contents: Contents, gradients: Gradients) -> None:
        """Raise ArtifactError with what the child says, or with how it ended."""
        why = ""
        for _ in range(_ATTEMPTS):
            try:
                said, status = self._attempt(contents, gradients)
            except _Stuck as stuck:
                why = str(stuck)
                continue
            except TimeoutError as late:
                why = str(late)
                break
            if said != _GOOD:
                _raise(said, status)
            return
        raise ArtifactError(f"{NETWORK}: was not loaded when it was tried: {why}") from TimeoutError()

    def _attempt(self, contents: Contents, gradients: Gradients) -> tuple[bytes, int]:
        """Return what a child says, which is nothing where it died, and its exit status; raises TimeoutError."""
        reading, writing = os.pipe()
        parent = os.getpid()
        child = os.fork()
        if not child:
            _child(contents, gradients, parent, writing)
        os.close(writing)
        try:
            said = self._answer(reading, child)
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        finally:
            os.close(reading)
        return said, os.waitpid(child, 0)[1]

    def _answer(self, reading: int, child: int) -> bytes:
        waiting = select.poll()
        waiting.register(reading, select.POLLIN)
        moved, before, started = time.monotonic(), -1.0, _computed(child)
        while not self._closed:
            if waiting.poll(_LOOK_SECONDS * 1000):
                return os.read(reading, _REPORT_MAX_BYTES)
            now, computed = time.monotonic(), _computed(child)
            if computed != before:
                before, moved = computed, now
            if computed - started > SECONDS:
                raise TimeoutError(f"it computed for more than {SECONDS:g} s")
            if now - moved > _STUCK_SECONDS:
                raise _Stuck("the child stood still")
        raise TimeoutError("the service stops")


class _Stuck(TimeoutError):
    """The child waits for what never comes."""


def _shared_gradients(contents: Contents) -> Gradients:
    """Return memory for the gradients that a child fills: to parse a large report here would hold up all else."""
    shapes = {parameter.name: parameter.shape for parameter in contents.manifest.parameters}
    sizes = [math.prod(shape) for shape in shapes.values()]
    if _FLOAT32_BYTES * sum(sizes) > len(contents.files[NETWORK]):
        raise ArtifactError(f"{NETWORK}: is too small for the manifest's parameters")
    shared = np.frombuffer(mmap.mmap(-1, _FLOAT32_BYTES * max(sum(sizes), 1)), np.float32)
    return {
        name: shared[end - size : end].reshape(shape)
        for (name, shape), size, end in zip(shapes.items(), sizes, accumulate(sizes), strict=True)
    }


def _computed(child: int) -> float:
    """Return for how many seconds the child has computed; where only Linux says so, a clock's time."""
    # CPUCLOCK_SCHED of another process: see clock_getcpuclockid(3).
    return time.clock_gettime(~child << 3 | 2) if sys.platform == "linux" else time.monotonic()


def _raise(said: bytes, status: int) -> NoReturn:
    if said:
        raise ArtifactError(said.decode(errors="replace"))
    # The kernel takes the child first when memory runs out, which may pass.
    cause = MemoryError() if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else None
    ended = f"died of signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"ended with {status >> 8}"
    raise ArtifactError(f"{NETWORK}: the process {ended} in which it was tried") from cause


def _child(contents: Contents, gradients: Gradients, parent: int, writing: int) -> NoReturn:
    """Load the version, write what became of it to the descriptor, and end without a trace of the parent's exit."""
    try:
        # A collection would end the parent's objects, with all that their ends do.
        gc.disable()
        try:
            _confine(parent, writing, len(contents.files[NETWORK]))
            _run(contents, gradients)
            said = _GOOD
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent says it
            said = (str(error) or type(error).__name__).encode(errors="replace")
        os.write(writing, said[:_REPORT_MAX_BYTES])
    finally:
        os._exit(0)


def _run(contents: Contents, gradients: Gradients) -> None:
    read = artifact.load(contents)
    for name, gradient in read.gradients.items():
        gradients[name][...] = gradient.numpy()
    predictor = Predictor(read, torch.device("cpu"))
    golden = np.array(predictor.manifest.golden.inputs, dtype=np.float32)
    predictor.run(np.resize(golden, (BLOCK_ROWS, golden.shape[1])))


def _confine(parent: int, writing: int, network_bytes: int) -> None:
    """Keep one descriptor of the parent's, end with it, answer no signal for it, and take no more than some memory."""
    os.closerange(3, writing)
    os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        free = _FREE_BYTES + _FREE_TIMES * network_bytes
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + free)
    _limit(resource.RLIMIT_CORE, 0)
    if os.getppid() != parent:
        os._exit(0)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, hard))

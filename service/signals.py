"""What signals do to a process of the service; docs/operating.md has the table. Knows no server."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker

# What stops the service, what it has a handler for, what the kernel and the shell stop and continue processes with, and
# what a fault in the process itself raises.
_KEPT = {
    "SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGTSTP", "SIGCONT", "SIGCHLD",
    "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP", "SIGXCPU",
}  # fmt: skip
_PARENTS = {signal.SIGHUP, signal.SIGINT}
_PR_SET_PDEATHSIG = 1


def prepare() -> None:
    """Ignore every signal that has no meaning here, in this process and in those that it starts.

    SIGHUP is ignored until there is something to read again. As process 1 of a container, which the kernel lets no
    signal end by default, SIGTERM ends this process with the status of a process that SIGTERM ended.
    """
    for number in signal.valid_signals() - {getattr(signal, name, None) for name in _KEPT}:
        with contextlib.suppress(OSError):  # the C library keeps two for itself
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def hold_back() -> None:
    """Hold back SIGHUP and SIGINT from one of several processes: a terminal sends both to all, the parent acts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS)


@contextlib.contextmanager
def holding_back() -> Iterator[None]:
    """Hold them back from the processes that are started in the block, from their first moment."""
    resource_tracker.ensure_running()  # which lets SIGINT through again when it starts in the block
    hold_back()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PARENTS)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, is gone, however this one hangs: on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # gone before that was asked for
        os._exit(1)

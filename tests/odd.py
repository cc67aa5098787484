"""Odd files of every kind, put where a good one is expected, in one step; and a process that may not read them all."""

import ctypes
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# Root may read what nobody may: a process without this right is refused as any other one.
UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def fifo(path: Path) -> None:
    """To open it waits for a writer."""
    os.mkfifo(path)


def device(path: Path) -> None:
    """It never ends; where that is not allowed, a link to it."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def giant(path: Path) -> None:
    """A terabyte that takes no room."""
    path.touch()
    os.truncate(path, 2**40)


def folder(path: Path) -> None:
    """With a file in it."""
    path.mkdir()
    (path / "1").write_text("1\n")


def empty_folder(path: Path) -> None:
    """A folder with nothing in it."""
    path.mkdir()


def dangling(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to("nothing-of-that-name")


def looping(path: Path) -> None:
    """A link to itself, once it is in its place."""
    path.symlink_to("champion")


def bound(path: Path) -> None:
    """The socket of a server that is gone."""
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # its name may be too long for an address
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def unreadable(path: Path) -> None:
    """Good, and nobody may read it."""
    path.write_text("2\n")
    path.chmod(0)


def holding(content: bytes) -> Callable[[Path], None]:
    """A file with this content."""

    def make(path: Path) -> None:
        path.write_bytes(content)

    make.__name__ = repr(content)[:20]
    return make


FILES = (fifo, device, giant, folder, empty_folder, dangling, looping, bound, unreadable)
# What an editor, a full disk or a copy leaves.
CONTENTS = tuple(
    holding(content)
    for content in (
        b"",
        b"abc",
        b"v1",
        b"01",
        b"1 2",
        b"\0\0",
        b"1\0",
        b"-1",
        b"0",
        b"1.0",
        b"1" * 200,
        b"\xff\xfe1\x00",
    )
)


def put(make: Callable[[Path], None], path: Path) -> Path:
    """Put an odd file in the place of a good one, in one step; where the good one lies then."""
    beside = path.with_name(f".odd-{path.name}")
    make(beside)
    exchange(beside, path)
    return beside


def put_back(kept: Path, path: Path) -> None:
    """Put the good one back, in one step."""
    exchange(kept, path)
    remove(kept)


def exchange(one: Path, other: Path) -> None:
    """Let two names change places, in one step: see renameat2(2)."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()

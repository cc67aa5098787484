"""Reads the files of a folder: regular ones, not through links, no further than a limit, and without ever waiting."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self, TypeAlias

FILE_MAX_BYTES = 2 * 2**30
Place: TypeAlias = tuple[int, int]
_BLOCK_BYTES = 2**20


class ArtifactError(Exception):
    """A file or folder that cannot be used as it is; the message says which one, and why."""


class Directory:
    """An opened folder: files are found relative to its descriptor, and links in it are not followed."""

    def __init__(self, path: Path, *, through_link: bool = False) -> None:
        """Only with `through_link` may the folder itself be a symbolic link."""
        self._path = path
        self._flags = os.O_RDONLY | os.O_DIRECTORY | (0 if through_link else os.O_NOFOLLOW)

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, self._flags)
        except OSError as error:
            raise ArtifactError(f"{self._path.name}: {reason(error)}") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def state(self) -> os.stat_result:
        """Return what the system says of the folder itself."""
        return os.fstat(self._descriptor)

    def place(self) -> Place:
        """Return what tells the folder from every other one that may lie at its path."""
        found = self.state()
        return found.st_dev, found.st_ino

    def entries(self) -> Iterator["os.DirEntry[str]"]:
        """Yield the folder's entries as the system lists them; raises ArtifactError where the system cannot."""
        try:
            with os.scandir(self._descriptor) as found:
                yield from found
        except OSError as error:
            raise ArtifactError(f"{self._path.name}: {reason(error)}") from error

    def size(self, name: str, *, through_link: bool = False) -> int:
        """Return the size of a file; raises ArtifactError where there is none, or it is not a regular one."""
        try:
            # Looked at first: to open a device may do something, and to read a FIFO may wait for ever.
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=through_link)
        except OSError as error:
            raise ArtifactError(f"{name}: {reason(error)}") from error
        if stat.S_ISLNK(found.st_mode):
            raise ArtifactError(f"{name}: is a symbolic link")
        if not stat.S_ISREG(found.st_mode):
            raise ArtifactError(f"{name}: is not a regular file")
        return found.st_size

    def has_link(self, name: str) -> bool:
        """Return whether there is a symbolic link of this name, to whatever it leads."""
        try:
            return stat.S_ISLNK(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode)
        except OSError:
            return False

    def read(self, name: str, limit: int = FILE_MAX_BYTES, *, through_link: bool = False) -> bytes:
        """Return all bytes of a file; raises ArtifactError where it is not a regular one, or has more than `limit`."""
        with self._opened(name, limit, through_link=through_link) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ArtifactError(f"{name}: is larger than {limit} bytes")
        return content

    def digest(self, name: str) -> str:
        """Return the sha256 of a file without keeping its bytes; raises ArtifactError as `read` does."""
        found, size = hashlib.sha256(), 0
        with self._opened(name, FILE_MAX_BYTES) as file:
            while block := file.read(_BLOCK_BYTES):
                found.update(block)
                if (size := size + len(block)) > FILE_MAX_BYTES:
                    raise ArtifactError(f"{name}: is larger than {FILE_MAX_BYTES} bytes")
        return found.hexdigest()

    @contextmanager
    def _opened(self, name: str, limit: int, *, through_link: bool = False) -> Iterator[BinaryIO]:
        if self.size(name, through_link=through_link) > limit:
            raise ArtifactError(f"{name}: is larger than {limit} bytes")
        flags = os.O_RDONLY | os.O_NONBLOCK | (0 if through_link else os.O_NOFOLLOW)
        try:
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
            with open(descriptor, "rb") as file:
                # Another file may have taken its place meanwhile.
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ArtifactError(f"{name}: is not a regular file")
                yield file
        except OSError as error:
            raise ArtifactError(f"{name}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """Return what the system refused, in words that can follow a file's name."""
    # With O_DIRECTORY, Linux says "not a directory" of a link to one.
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "is a symbolic link, or not a directory" if error.errno == errno.ENOTDIR else "is a symbolic link"
    return os.strerror(error.errno or 0).lower()

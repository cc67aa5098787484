"""Reads the files of a folder: regular ones, not through links, no further than a limit, and without ever waiting."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

FILE_MAX_BYTES = 2 * 2**30


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

    def entries(self) -> Iterator["os.DirEntry[str]"]:
        """Yield the folder's entries as the system lists them; raises ArtifactError where the system cannot."""
        try:
            with os.scandir(self._descriptor) as found:
                yield from found
        except OSError as error:
            raise ArtifactError(f"{self._path.name}: {reason(error)}") from error

    def size(self, name: str) -> int:
        """Return the size of a file; raises ArtifactError where there is none, or it is not a regular one."""
        try:
            # Looked at first: to open a device may do something, and to read a FIFO may wait for ever.
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError as error:
            raise ArtifactError(f"{name}: {reason(error)}") from error
        if stat.S_ISLNK(found.st_mode):
            raise ArtifactError(f"{name}: is a symbolic link")
        if not stat.S_ISREG(found.st_mode):
            raise ArtifactError(f"{name}: is not a regular file")
        return found.st_size

    def read(self, name: str, limit: int = FILE_MAX_BYTES) -> bytes:
        """Return all bytes of a file; raises ArtifactError where it is not a regular one, or has more than `limit`."""
        size = self.size(name)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._descriptor)
            with open(descriptor, "rb") as file:
                # Another file may have taken its place meanwhile.
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ArtifactError(f"{name}: is not a regular file")
                content = b"" if size > limit else file.read(limit + 1)
        except OSError as error:
            raise ArtifactError(f"{name}: {reason(error)}") from error
        if max(size, len(content)) > limit:
            raise ArtifactError(f"{name}: is larger than {limit} bytes")
        return content


def reason(error: OSError) -> str:
    """Return what the system refused, in words that can follow a file's name."""
    # With O_DIRECTORY, Linux says "not a directory" of a link to one.
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "is a symbolic link, or not a directory" if error.errno == errno.ENOTDIR else "is a symbolic link"
    return os.strerror(error.errno or 0).lower()

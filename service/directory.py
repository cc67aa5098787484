"""Reads the files of a version's directory: regular ones, not through links, and no further than a limit."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

FILE_MAX_BYTES = 2 * 2**30
_BLOCK_BYTES = 2**20


class ArtifactError(Exception):
    """A directory that is not a usable artifact; the message says which file, and why."""


class Directory:
    """An opened version directory: files are found relative to it, and links are not followed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise ArtifactError(f"{self._path.name}: {_reason(error)}") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def read(self, name: str, limit: int = FILE_MAX_BYTES) -> bytes:
        """All bytes of a file; raises ArtifactError where it is not a regular one, or has more than `limit`."""
        with self._opened(name) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ArtifactError(f"{name}: is larger than {limit} bytes")
        return content

    def digest(self, name: str) -> tuple[str, int]:
        """Return the sha256 and the size of a file without keeping its bytes; raise ArtifactError as `read` does."""
        found, size = hashlib.sha256(), 0
        with self._opened(name) as file:
            while block := file.read(_BLOCK_BYTES):
                found.update(block)
                if (size := size + len(block)) > FILE_MAX_BYTES:
                    raise ArtifactError(f"{name}: is larger than {FILE_MAX_BYTES} bytes")
        return found.hexdigest(), size

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._descriptor)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ArtifactError(f"{name}: is not a regular file")
                yield file
        except OSError as error:
            raise ArtifactError(f"{name}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    # With O_DIRECTORY, Linux says "not a directory" of a link to one.
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "is a symbolic link, or not a directory" if error.errno == errno.ENOTDIR else "is a symbolic link"
    return os.strerror(error.errno or 0).lower()

"""Publication: a new version appears whole or not at all, and a label moves in one step.

Owns the order of writes, locks and renames. Knows nothing of what the files hold.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from service import artifact
from training import versions
from training.errors import InvalidInputError, from_os

_STAGING = ".publishing-"
_WAIT_SECONDS = 60
_TRIES_A_SECOND = 20


def check_writable(artifacts: Path, model: str) -> None:
    """Raise InvalidInputError when a version could not be written, as far as can be told without writing one."""
    place = artifacts / model
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InvalidInputError(f"{place}: is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InvalidInputError(f"{place}: is not writable")


def publish(artifacts: Path, model: str, contents: Mapping[str, bytes]) -> Path:
    """Write `contents`, by file name, as the model's next version, and return its directory.

    Two publishers at once take turns. One that is killed leaves at most a hidden directory, which the next one removes.
    Raises InvalidInputError when the system refuses to write; nothing half-written is left behind.
    """
    directory = artifacts / model
    try:
        with _locked(directory):
            try:
                published = _publish(directory, contents)
                _make_default(artifacts, model)
                return published
            finally:
                _remove_if_empty(directory)
    except OSError as error:
        raise from_os(error.filename or directory, error) from error


def set_label(artifacts: Path, model: str, label: str, version: int) -> None:
    """Make `label` a name of an existing version; a reader sees the old one or the new one, never neither.

    Whatever damaged file lies in its place is replaced.

    Raises InvalidInputError for a name that cannot be one, a version that is not there, and what the system refuses.
    """
    path = versions.existing(artifacts, model, version).parent / artifact.LABELS / versions.named(label)
    directory = path.parents[1]
    try:
        with _locked(directory):
            _replace_in(path.parent, path.name, f"{version}\n".encode())
    except OSError as error:
        raise from_os(error.filename or directory, error) from error


def add(version: Path, name: str, content: bytes) -> None:
    """Put a file into a published version, or in place of the one there, in one step; what it describes stays as it is.

    Raises InvalidInputError for what the system refuses.
    """
    try:
        with _locked(version.parent):
            _replace(version / name, content)
    except OSError as error:
        raise from_os(error.filename or version, error) from error


def _next(directory: Path) -> str:
    """Return the number behind the highest version's; what is called like a version and is no folder is passed over."""
    number = max((n for n in artifact.versions(directory) if (directory / str(n)).is_dir()), default=0) + 1
    while os.path.lexists(directory / str(number)):
        number += 1
    if not artifact.is_version(str(number)):
        raise InvalidInputError(f"{directory}: no number is left behind version {number - 1}; remove that folder")
    return str(number)


def _publish(directory: Path, contents: Mapping[str, bytes]) -> Path:
    for stale in directory.glob(f"{_STAGING}*"):
        _remove(stale)
    number = _next(directory)
    staging = directory / f"{_STAGING}{number}"
    staging.mkdir()
    try:
        for name, content in contents.items():
            _write(staging / name, content)
        _sync(staging)
        # What the reader would refuse is never given a number.
        artifact.read(staging)
        # Before the rename, so that no version is without; what a killed publisher left there is replaced.
        _record(directory, number, contents[artifact.MANIFEST])
        # Fails where a version of this number holds files, should something else than a publisher have put it there.
        staging.rename(directory / number)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        _forget_record(directory / artifact.DIGESTS, number)
        raise
    _sync(directory)
    return directory / number


def _record(directory: Path, number: str, manifest: bytes) -> None:
    """Say beside the versions which manifest this one has, so that another one's files cannot pass for it later."""
    _replace_in(directory / artifact.DIGESTS, number, f"{hashlib.sha256(manifest).hexdigest()}\n".encode())


def _forget_record(folder: Path, number: str) -> None:
    with suppress(OSError):
        (folder / number).unlink()
        folder.rmdir()


def _make_default(artifacts: Path, model: str) -> None:
    """The first model stays the default: whoever asks for no model by name is not moved by a second one."""
    if (artifacts / artifact.DEFAULT_MODEL).exists():
        return
    unfinished = artifacts / f".{artifact.DEFAULT_MODEL}-{model}"
    try:
        _write(unfinished, f"{model}\n".encode())
        # Unlike a rename, a link never replaces what another publisher has put there meanwhile.
        with suppress(FileExistsError):
            os.link(unfinished, artifacts / artifact.DEFAULT_MODEL)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(artifacts)


def _replace_in(folder: Path, name: str, content: bytes) -> None:
    if not os.path.lexists(folder):
        folder.mkdir()
        _sync(folder.parent)
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: is not a folder: remove it")
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        path.rmdir()  # a file cannot be renamed to a folder; raises OSError where it holds something
    _replace(path, content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _replace(path: Path, content: bytes) -> None:
    # A dot cannot begin the name of a label or a version's file, so that no reader takes the unfinished one for such.
    unfinished = path.with_name(f".{path.name}")
    try:
        _write(unfinished, content)
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the model's directory, made if need be, for one publisher; the system frees it when the process ends."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock(descriptor, directory)
            # While this one waited, a publisher that failed may have removed the directory it had made.
            if _is_still(directory, descriptor):
                _sync(directory.parent)
                yield
                return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    """Wait for the lock; say so, and raise InvalidInputError where another process never lets go of it."""
    for tries in range(_WAIT_SECONDS * _TRIES_A_SECOND):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if tries == _TRIES_A_SECOND:
            print(f"waiting for another process that publishes in {directory}", file=sys.stderr)
        time.sleep(1 / _TRIES_A_SECOND)
    raise InvalidInputError(f"{directory}: another process has held its lock for {_WAIT_SECONDS} s; end that process")


def _is_still(directory: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_if_empty(directory: Path) -> None:
    if not any(directory.iterdir()):
        directory.rmdir()


def _write(path: Path, content: bytes) -> None:
    try:
        # Never into what lies there already: to open a FIFO may wait for ever, and a link leads elsewhere.
        path.unlink(missing_ok=True)
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # A failed write does not say of which file.
        raise from_os(path, error) from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

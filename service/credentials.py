"""What is read at the start and again at each SIGHUP: whose keys are good, and which certificate is shown."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from service import tls
from service.access import Access, Hashes, read_hashes
from service.settings import Settings

log = logging.getLogger("calibrant")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys that let clients in, and the certificate with its key where there is TLS."""

    access: Access
    certificate: tls.Pair | None


def read(settings: Settings) -> Credentials:
    """Read the files that the settings name; raises ValueError that says which one cannot be used, and why."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        raise ValueError("tls_certificate and tls_key: one is of no use without the other")
    access = Access.read(settings.api_keys_file, settings.admin_keys_file)
    return Credentials(access, tls.read(certificate, key) if certificate and key else None)


def read_again(settings: Settings, before: Credentials) -> Credentials:
    """Read the same files; what cannot be used is logged, and what there was `before` stays in its place."""
    api = _hashes(settings.api_keys_file, before.access.api_keys)
    admin = _hashes(settings.admin_keys_file, before.access.admin_keys)
    certificate, key, pair = settings.tls_certificate, settings.tls_key, before.certificate
    if certificate and key:
        pair = _unless_bad(lambda: tls.read(certificate, key), before.certificate)
    return Credentials(Access(api, admin), pair)


def _hashes(file: Path | None, before: Hashes) -> Hashes:
    return _unless_bad(lambda: read_hashes(file), before) if file else ()


def _unless_bad(attempt: Callable[[], T], before: T) -> T:
    try:
        return attempt()
    except ValueError as error:
        log.error("what this file held before stays in use: %s", error, extra={"reason": str(error)})
        return before


class Renewal:
    """Reads the files again after each `ask`, in a thread: a file system that hangs holds up nobody else."""

    def __init__(self, settings: Settings) -> None:
        """Read them for the first time; raises ValueError."""
        self._settings = settings
        self._asked = False
        self._thread: Thread | None = None
        self._found: SimpleQueue[Credentials] = SimpleQueue()
        self.credentials = read(settings)

    def ask(self, *_: object) -> None:
        """Have the files read again: a handler for SIGHUP."""
        self._asked = True

    def poll(self) -> Credentials | None:
        """Return what was read since the last time, if anything; to be called again and again."""
        if self._asked and (self._thread is None or not self._thread.is_alive()):
            self._asked = False
            self._thread = Thread(target=self._read, daemon=True, name="renewal")
            self._thread.start()
        with contextlib.suppress(Empty):
            return self._found.get_nowait()
        return None

    def _read(self) -> None:
        self.credentials = read_again(self._settings, self.credentials)
        log.info("SIGHUP: every file of keys or certificates that can be used is in use; the folder is looked at")
        self._found.put(self.credentials)

"""The certificate that the service shows, and its key: read, tried, and put in place while connections go on."""

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeAlias

# Certificate chain and private key, in PEM.
Pair: TypeAlias = tuple[bytes, bytes]


def read(certificate: Path, key: Path) -> Pair:
    """Return what is in both files; raises ValueError where a server could not use it."""
    try:
        pair = certificate.read_bytes(), key.read_bytes()
        _context(pair)
    except OSError as error:
        # The library has no word for a file that holds no PEM at all.
        why = (
            error.reason or "not a certificate and a key in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        )
        raise ValueError(f"tls_certificate {certificate} and tls_key {key} cannot be used: {why}") from error
    return pair


class Tls:
    """The TLS of one process: every connection that begins sees the newest certificate."""

    def __init__(self, pair: Pair) -> None:
        self._newest = _context(pair)

    def renew(self, pair: Pair) -> None:
        """Show this certificate from now on."""
        # In a context of its own: one that has held keys of two kinds shows both.
        self._newest = _context(pair)

    def context(self, *_: object) -> ssl.SSLContext:
        """Return the context to listen with."""
        listening = self._newest
        listening.sni_callback = self._choose  # called for every client, also for one that names no server
        return listening

    def _choose(self, connection: Any, _: object, __: object) -> None:  # noqa: ANN401 - SSLObject or SSLSocket
        connection.context = self._newest


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with ExitStack() as stack:
        certificate, key = (stack.enter_context(_file(content)) for content in pair)
        context.load_cert_chain(certificate, key, "")  # with an empty password, so that nobody is asked for one
    return context


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """Put this where OpenSSL, which reads files only, finds it: in memory, on Linux."""
    if sys.platform != "linux":
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    with open(os.memfd_create("tls"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"

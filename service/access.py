"""Who may come in: keys, of which only hashes are kept. Reads the files and decides; knows no web framework.

A key has 256 random bits, so that a plain SHA-256 of it cannot be searched through, as one of a password could be.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

HEADER = b"authorization"
Hashes: TypeAlias = tuple[bytes, ...]

_KEY_BYTES = 32
_NAME = r"[\w.@-]{1,100}"
_LINE = re.compile(rf"{_NAME}[ \t]+([0-9a-fA-F]{{64}})")
# RFC 6750, section 2.1; a scheme's case does not matter (RFC 9110, section 11.1).
_BEARER = re.compile(rb"bearer +([!-~]+) *", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Access:
    """The hashes of good keys; without API keys everybody may come in, without admin keys nobody administers."""

    api_keys: Hashes = ()
    admin_keys: Hashes = ()

    @classmethod
    def read(cls, api_keys_file: Path | None, admin_keys_file: Path | None) -> Self:
        """Of these files, where they are given; raises ValueError that names the file and the line."""
        files = (api_keys_file, admin_keys_file)
        return cls(*(read_hashes(file) if file else () for file in files))

    def admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers may come in: an admin key is good for what an API key is good for."""
        return not self.api_keys or _is_one_of(headers, self.api_keys + self.admin_keys)

    def lets_administer(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether it has an admin key."""
        return _is_one_of(headers, self.admin_keys)


class Keyring:
    """Holds the access that is granted now: one object for all doors and routes, in which SIGHUP puts another one."""

    def __init__(self, access: Access) -> None:
        self.access = access


def read_hashes(file: Path) -> Hashes:
    """The hashes in a file of lines ``NAME SHA256HEX``; raises ValueError, which repeats nothing of a line."""
    try:
        lines = file.read_bytes().decode(errors="replace").splitlines()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {os.strerror(error.errno or 0).lower()}") from error
    hashes: list[bytes] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(
                f"{file} line {number} is not NAME SHA256HEX: `python -m service key NAME` makes such a line"
            )
        hashes.append(bytes.fromhex(found[1]))
    if not hashes:
        raise ValueError(f"{file} has no key: `python -m service key NAME` makes one")
    return tuple(hashes)


def new_key(name: str) -> tuple[str, str]:
    """A key that nobody has, and its line for the file; raises ValueError for a name that has no place in one."""
    if not re.fullmatch(_NAME, name):
        raise ValueError("a key's name has up to 100 letters, digits and any of _ . @ -")
    key = secrets.token_urlsafe(_KEY_BYTES)
    return key, f"{name} {hashlib.sha256(key.encode()).hexdigest()}"


def _is_one_of(headers: Iterable[tuple[bytes, bytes]], hashes: Hashes) -> bool:
    sent = [value for name, value in headers if name == HEADER]
    found = _BEARER.fullmatch(sent[0]) if len(sent) == 1 else None
    if found is None:
        return False
    digest = hashlib.sha256(found[1]).digest()
    # All of them, whichever is right: the time says nothing of where in the file it is.
    return any([hmac.compare_digest(digest, known) for known in hashes])  # noqa: C419 - as above

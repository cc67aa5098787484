"""Whose versions may load: an Ed25519 public key (RFC 8032), and whether it signed some bytes.

Needs the extra `signing` once there is a key, and only then. Private keys are for `training`.
"""

from dataclasses import dataclass
from pathlib import Path

from service import extras

_PEM_MAX_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The 32 bytes of an Ed25519 public key."""

    raw: bytes

    def has_signed(self, content: bytes, signature: bytes) -> bool:
        """Whether `signature`, 64 bytes, is that of exactly this content."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, content)
        except InvalidSignature:
            return False
        return True


def read_public_key(path: Path) -> PublicKey:
    """The key in a PEM file, as ``openssl pkey -pubout`` writes it; raises ValueError that says what is wrong."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ValueError(f"public_key: {extras.needed('a signature', 'signing')}") from error
    try:
        with path.open("rb") as file:
            key = load_pem_public_key(file.read(_PEM_MAX_BYTES))
    except OSError as error:
        raise ValueError(f"public_key: {path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"public_key: {path}: is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"public_key: {path}: is not an Ed25519 key")  # noqa: TRY004 - of the file, not of a type
    return PublicKey(key.public_bytes_raw())


def resolve_public_key(path: Path | None) -> PublicKey | None:
    """The key for a setting; None where it is not set. Raises ValueError as `read_public_key`."""
    return read_public_key(path) if path else None

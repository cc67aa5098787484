"""Signatures of versions: who holds the private key vouches for a manifest, and so for all files that it describes.

Owns the private key, which is read and never shown. How a signature is checked is the artifact format's.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from service import artifact
from training import publish, versions
from training.errors import InvalidInputError, UnverifiedError, from_os

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def private_key(path: Path) -> "Ed25519PrivateKey":
    """The key in a PEM file, as ``openssl genpkey -algorithm ed25519`` writes it; raises InvalidInputError."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above
    except ImportError as error:
        raise InvalidInputError(artifact.needed("a signature", "signing")) from error
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise from_os(path, error) from error
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what they say might quote the key
        raise InvalidInputError(f"{path}: is no private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInputError(f"{path}: is not an Ed25519 key")
    return key


def sign(artifacts: Path, model: str, version: int, key: "Ed25519PrivateKey") -> None:
    """Sign a version that is there, and whole; a signature that it has is replaced in one step.

    Raises InvalidInputError for a version that no service would load.
    """
    directory = versions.existing(artifacts, model, version)
    publish.add(directory, artifact.SIGNATURE, key.sign(versions.read(directory).manifest_bytes))


def verify(artifacts: Path, model: str, version: int, public_key: Path) -> None:
    """Read a version as a service with this public key does; raises UnverifiedError where that would not load it."""
    directory = versions.existing(artifacts, model, version)
    try:
        key = artifact.read_public_key(public_key)
    except ValueError as error:
        raise InvalidInputError(str(error)) from error
    try:
        artifact.read(directory, key)
    except artifact.ArtifactError as error:
        raise UnverifiedError(f"{directory}: {error}") from error

"""Pairs of keys, as `openssl` writes them, and versions signed with them."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from training.__main__ import main as train

Private = ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey


@dataclass(frozen=True)
class Keys:
    """The files of a pair of keys."""

    private: Path
    public: Path


def keys(folder: Path, name: str, private: Private | None = None) -> Keys:
    """A fresh pair in two PEM files."""
    private = private or ed25519.Ed25519PrivateKey.generate()
    pair = Keys(folder / f"{name}.pem", folder / f"{name}_public.pem")
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    pair.private.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public = private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    pair.public.write_bytes(public)
    return pair


def sign(artifacts: Path, version: int, pair: Keys) -> None:
    """Sign a version of the thermometer."""
    flags = ["--key", str(pair.private), "--artifacts", str(artifacts)]
    assert train(["sign", *flags, "thermometer", str(version)]) == 0

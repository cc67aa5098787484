"""Keys, and the files that let them in."""

import hashlib
from pathlib import Path

API_KEY = "api-key_of.a-test~that+is/as=long=as=a=real=one"
ADMIN_KEY = "admin-key-of-a-test-that-is-as-long-as-a-real-one"
WITH_KEY = {"authorization": f"Bearer {API_KEY}"}
WITH_ADMIN_KEY = {"authorization": f"Bearer {ADMIN_KEY}"}


def line(key: str) -> str:
    """A line of a file of keys."""
    return f"somebody {hashlib.sha256(key.encode()).hexdigest()}\n"


def api_keys(folder: Path) -> list[str]:
    """The flags of a service that wants a key."""
    file = folder / "api-keys"
    file.write_text("# keys of this test\n\n" + line("another") + line(API_KEY))
    return ["--api-keys-file", str(file)]


def admin_keys(folder: Path) -> list[str]:
    """The flags of a service that may be administered."""
    file = folder / "admin-keys"
    file.write_text(line(ADMIN_KEY))
    return ["--admin-keys-file", str(file)]

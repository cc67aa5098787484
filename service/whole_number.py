"""Whole numbers that clients write in headers and paths: read to the last digit, or not at all."""

import re
from typing import Final

# Larger than every limit of this service; Python reads no more than 4,300 digits.
BEYOND: Final = 10**18
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def read(sent: bytes) -> int | None:
    """Return what ASCII digits say, leading zeros allowed, and `BEYOND` for whatever is larger; None for other text."""
    if not sent.isdigit():
        return None
    digits = sent.lstrip(b"0")
    return min(int(digits or b"0"), BEYOND) if len(digits) < 20 else BEYOND


def version(text: str) -> int | None:
    """Return a version's number; None for any text but the one spelling that a version's number has."""
    return int(text) if _VERSION.fullmatch(text) else None

"""JSON for the protocol's documents: what simdjson reads, and numbers that are longer than simdjson takes.

simdjson refuses whole numbers beyond 64 bits and numbers beyond float64, which JSON has and every other route takes.
"""

import math
import re
from typing import Any, Final

import simdjson

# Larger than any float32, so that a value is refused as such, by its place.
_BEYOND: Final = b"1e300"
# A string, in which nothing is a number; or a number of many digits or with a large exponent, from its first digit.
_LONG = re.compile(
    rb'"(?:[^"\\]|\\.)*+"?+'
    rb"|(?<![0-9.eE+\-])-?(?:[0-9]{19,}+(?![0-9.eE])|[0-9]++(?:\.[0-9]++)?+[eE]\+?+[0-9]{3,}+|[0-9]{300,}+[.eE0-9+\-]*+)"
)


def parse(text: bytes) -> Any:  # noqa: ANN401 - a document of any form
    """Return the document; raises ValueError or RuntimeError, as simdjson does, for what is not JSON."""
    try:
        return simdjson.Parser().parse(text)
    except (ValueError, RuntimeError):
        shortened = _LONG.sub(_shortened, text)
        if shortened == text:
            raise
    return simdjson.Parser().parse(shortened)


def _shortened(found: re.Match[bytes]) -> bytes:
    """Return a number that simdjson takes and that is as large, for what this service does with it."""
    text = found[0]
    if text.startswith(b'"'):
        return text
    try:
        value = float(text)
    except ValueError:
        return text
    if math.isinf(value):
        return b"-" + _BEYOND if value < 0 else _BEYOND
    return repr(value).encode()

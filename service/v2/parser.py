"""Parses the JSON of a request, with numbers of any size. Knows nothing of what the document says.

The parser refuses a whole number beyond 64 bits, and any number beyond float64. Only a document that is refused for a
number is rewritten and parsed again, so that all others cost nothing more.
"""

import re
from typing import Any

import simdjson

# Passes over everything up to a number that the parser may refuse: a whole one of 19 digits or more, any of 299, or an
# exponent from 100. No more than a thousand tokens at a time, so that other threads get their turn. All quantifiers are
# possessive: whatever a client sends, no byte is looked at more than a few times.
_UP_TO_LARGE_NUMBER = re.compile(
    rb"""
    (?: [^"+.0-9eE-]++                       # punctuation, names and blanks
      | " (?: [^"\\]++ | \\. )*+ "?          # a string
      | (?! -?[0-9]{19} (?: [0-9]{280} | [0-9]*+ (?![.eE]) ) | [-+.0-9]*+ [eE] \+? 0*+ [1-9][0-9]{2} ) [-+.0-9eE]++
    ){0,1000}+
    ( [-+.0-9eE]*+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_JSON_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?([eE][+-]?[0-9]++)?")
# Beyond float32, as all that is larger, and within float64.
_HUGE = 1e308
# A column of such numbers is beyond float32, so nobody needs many of them; millions would take seconds to rewrite.
_MOST_EXPONENTS = 1_000


def parse(content: bytes) -> Any:  # noqa: ANN401 - a document of simdjson's: an object, an array, or a value
    """Return the document; raise ValueError or RuntimeError, as simdjson does, for what is not JSON."""
    try:
        return simdjson.Parser().parse(content)
    except (ValueError, RuntimeError) as error:
        if not str(error).startswith(("NUMBER_ERROR", "BIGINT_ERROR")):
            raise
    return simdjson.Parser().parse(_with_float64_only(content))


def _with_float64_only(content: bytes) -> bytes:
    """Return the text with its large numbers as float64; what is not a JSON number stays as it is, to be refused."""
    exponents = 0

    def written(found: re.Match[bytes]) -> bytes:
        nonlocal exponents
        number = _JSON_NUMBER.fullmatch(found[1])
        if number is None:
            return found[0]
        exponents += number[1] is not None
        if exponents > _MOST_EXPONENTS:
            raise ValueError(f"NUMBER_ERROR: More than {_MOST_EXPONENTS} numbers have an exponent of 100 or above")
        value = max(-_HUGE, min(float(number[0]), _HUGE))
        return found[0][: -len(number[0])] + b"%r" % value

    return _UP_TO_LARGE_NUMBER.sub(written, content)

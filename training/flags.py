"""The values of flags: each function reads one text, and says what is wrong with it.

Owns the limits. Knows nothing of the commands.
"""

import argparse
import math
import re
from collections.abc import Callable
from typing import Final, TypeVar

from service import artifact

_Value = TypeVar("_Value")

_HIDDEN_MAX_WIDTH = 1_024
_HIDDEN_MAX_LAYERS = 8
_LEARNING_RATE_MAX = 1e6

# Python reads 1_000, blanks and the digits of other scripts too.
_WHOLE = re.compile(r"0*([0-9]{1,18})")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

AUTO: Final = "auto"


def integer(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        found = _WHOLE.fullmatch(text)
        if not (found and low <= int(found[1]) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(found[1])

    return parse


seed = integer(0, 2**32 - 1)
epochs = integer(1, 10_000_000)
seeds = integer(1, 1_000)
version = integer(1, 10**18 - 1)


def hidden(text: str) -> tuple[int, ...] | str:
    """``8,4``: the widths of the hidden layers; ``0`` is none, and ``auto`` whatever turns out best."""
    if text == AUTO:
        return text
    if text == "0":
        return ()
    widths = tuple(map(integer(1, _HIDDEN_MAX_WIDTH), text.split(",")))
    if len(widths) > _HIDDEN_MAX_LAYERS:
        raise argparse.ArgumentTypeError(f"{len(widths)} layers are more than {_HIDDEN_MAX_LAYERS}")
    return widths


def learning_rate(text: str) -> float:
    """A number above 0."""
    if not 0 < (value := _float(text)) <= _LEARNING_RATE_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, and at most {_LEARNING_RATE_MAX:g}")
    return value


def fraction(text: str) -> float:
    """A number from 0 to below 1."""
    if not 0 <= (value := _float(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return value


def size(text: str) -> int:
    """The width of a single hidden layer; 0 is none."""
    return integer(0, _HIDDEN_MAX_WIDTH)(text)


def listed(of: Callable[[str], _Value]) -> Callable[[str], tuple[_Value, ...]]:
    """A reader of ``1,2,4``: different values with a comma between them."""

    def parse(text: str) -> tuple[_Value, ...]:
        values = tuple(map(of, text.split(",")))
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"{text!r} has a value twice")
        return values

    return parse


def unit(text: str) -> tuple[str, str]:
    """``COLUMN=UNIT``."""
    name, _, of = text.rpartition("=")
    if not (name and of):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=UNIT")
    of = of.strip()
    if not (0 < len(of) <= artifact.UNIT_MAX_LENGTH and of.isprintable()):
        raise argparse.ArgumentTypeError(f"a unit must be 1 to {artifact.UNIT_MAX_LENGTH} printable characters")
    return name, of


def limit(text: str) -> tuple[str, float]:
    """``MEASURE=NUMBER``."""
    name, _, number = text.rpartition("=")
    value = _float(number)
    if not name or math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not MEASURE=NUMBER")
    return name, value


def _float(text: str) -> float:
    """Return the number, or NaN where `text` is not a decimal number that float64 holds."""
    value = float(text) if _DECIMAL.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan

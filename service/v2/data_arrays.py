"""The arrays ``data`` of a large request in JSON: read in blocks, and cut out of the JSON before all of that is parsed.

What is left of the JSON is small. So no step keeps the interpreter from other threads for more than a moment.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.problems import NotParseable, TooLarge, WrongValues
from service.tables.json_blocks import BLOCK_BYTES, OTHER_VALUE, ItemError, block_end, numbers

# Many times what the names, shapes and parameters of a request need.
REST_MAX_BYTES: Final = 2**20

_KEY = b'"data"'
_BEGINS_ARRAY = re.compile(rb"[ \t\n\r]{0,1000}+:[ \t\n\r]{0,1000}+(?=\[)")
_NOT_OF_ARRAY = re.compile(rb"[^][0-9eE+\-., \t\n\r]")
_BLANKS = b" \t\n\r"
_ONE_DIGIT = bytes.maketrans(b"0123456789eE+-.", b"0" * 15)
_NO_BRACKETS = bytes.maketrans(b"[]", b"  ")
_ALL_BUT_MARKS = b"0123456789eE+-. \t\n\r"
_NONE = np.empty(0)


@dataclass(frozen=True, slots=True)
class DataArray:
    """An array's numbers, flat, and its brackets and commas, which say how the numbers were nested.

    The numbers of a large document are `rounded` to float64, also where their datatype has integers of 64 bits.
    """

    values: NDArray[Any]
    marks: bytes
    rounded: bool = True


def cut(text: bytes) -> tuple[bytes, list[DataArray]]:
    """Return the JSON with ``["N"]`` in the place of the N-th array ``data``, and these arrays.

    Raises WrongValues, NotParseable or TooLarge.
    """
    kept: list[bytes] = []
    found: list[DataArray] = []
    at = 0
    while (key := text.find(_KEY, at)) >= 0:
        begins = _BEGINS_ARRAY.match(text, key + len(_KEY)) if text[key - 1 : key] != b"\\" else None
        stop = begins.end() if begins else key + len(_KEY)
        kept.append(text[at:stop])
        if begins:
            stop, array = _read(text, stop, f"/inputs/{len(found)}/data")
            kept.append(b'["%d"]' % len(found))
            found.append(array)
        at = stop
    kept.append(text[at:])
    if sum(map(len, kept)) > REST_MAX_BYTES:
        raise TooLarge(f"the JSON without its arrays `data` is larger than {REST_MAX_BYTES} bytes")
    return b"".join(kept), found


def _read(text: bytes, start: int, where: str) -> tuple[int, DataArray]:
    """Read the array that begins at `start`; return where the array ends, too."""
    parser = simdjson.Parser()
    blocks: list[NDArray[np.float64]] = []
    marks: list[bytes] = []
    depth = 0
    while True:
        stop = block_end(text, start, len(text))
        odd = _NOT_OF_ARRAY.search(text, start, stop)
        block = text[start : odd.start() if odd else stop]
        depth += block.count(b"[") - block.count(b"]")
        if depth <= 0:
            block = block[: block.rfind(b"]") + 1]
        marks.append(block.translate(None, _ALL_BUT_MARKS))
        if depth < 0 or _is_misplaced(block):
            raise NotParseable(f"the body is not JSON: {where} has a bracket or a number that is out of place")
        try:
            blocks.append(numbers(parser, _within_limit(block, where).translate(_NO_BRACKETS)))
        except ItemError as item:
            if b",".join(marks) != b"[]":
                raise _problem(text, start + item.start, b",".join(marks[:-1]), block[: item.start], where) from None
        if depth == 0:
            return start + len(block), DataArray(np.concatenate([*blocks, _NONE]), b",".join(marks))
        start = stop + 1


def _is_misplaced(block: bytes) -> bool:
    """Return whether a number stands beside a bracket that is not the one around the number."""
    shape = block.translate(_ONE_DIGIT, _BLANKS)
    return b"0[" in shape or b"]0" in shape


def _within_limit(block: bytes, where: str) -> bytes:
    if len(block) > BLOCK_BYTES and len(block := block.strip(_BLANKS)) > BLOCK_BYTES:
        raise WrongValues(f"{where} has a number longer than {BLOCK_BYTES} characters")
    return block


def _problem(text: bytes, at: int, marks: bytes, block: bytes, where: str) -> WrongValues | NotParseable:
    """Return the problem of what stands at `at`, behind a block that begins behind `marks`."""
    marks = b",".join(
        [marks, block.translate(None, _ALL_BUT_MARKS)] if marks else [block.translate(None, _ALL_BUT_MARKS)]
    )
    nested = b"[" in marks[1:]
    place = f"/{marks.count(b']')}/" if nested else "/"
    place += str(marks.count(b",", marks.rfind(b"[")))
    if OTHER_VALUE.match(text, at):
        return WrongValues(f"{where}{place} is not a number")
    return NotParseable(f"the body is not JSON that can be read: {where}{place} is not a number")

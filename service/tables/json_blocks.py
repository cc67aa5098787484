"""Reads a large JSON table in blocks, so that no step keeps the interpreter from other threads for a millisecond.

One pass: the first thing that is wrong is what an error names. Small bodies are read by `service.tables.json`.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from service.problems import Fault, NotParseable, WrongValues, pointer
from service.tables.table import FLOAT32_MAX, summary

NOT_A_TABLE: Final = "is not an object with one array per column"
NOT_AN_ARRAY: Final = "is not an array"
NOT_A_NUMBER: Final = "is not a number"
NOT_FINITE: Final = "is not a finite number"
BEYOND_FLOAT32: Final = "is beyond float32"
MISSING: Final = "this column is missing"

_BLOCK_BYTES = 2**16
_SPACE = re.compile(rb"[ \t\n\r]*+")
# A column's name has up to 200 characters, each of which JSON may write in up to twelve bytes.
_KEY = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.){0,2400}+"')
_NUMBER = rb"[ \t\n\r]*+-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+[ \t\n\r]*+"
_NUMBERS = re.compile(rb"(?:%b,)*+" % _NUMBER)
_NOT_FINITE = re.compile(rb"-?(?:Infinity|NaN)\b")
# How a value begins that JSON has, and that is no number.
_OTHER_VALUE = re.compile(rb'["\[{]|true|false|null')
_ANY_VALUE = re.compile(rb'["\[{0-9-]|true|false|null')


def read(body: bytes, names: Sequence[str]) -> list[NDArray[np.float32]]:
    """Return the columns, in the order of `names`; the caller compares their lengths.

    Raises NotParseable or WrongValues. May be called on any thread.
    """
    found = _Reader(body).table(names)
    missing = [Fault(pointer((name,)), MISSING) for name in names if name not in found]
    if missing:
        raise WrongValues(summary(missing, len(missing)), faults=missing)
    return [found[name] for name in names]


class _Reader:
    """A body, and how far it has been read."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0
        self._parser = simdjson.Parser()

    def table(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Read the whole body as an object that has only these names, each at most once."""
        found: dict[str, NDArray[np.float32]] = {}
        self._open(b"{", (), NOT_A_TABLE)
        more = self._next() != b"}"
        while more:
            name = self._key(names)
            if name in found:
                raise WrongValues("a column is given twice", faults=[Fault("", "has a duplicate key")])
            self._take(b":")
            found[name] = self._array(name)
            more = self._next() == b","
            self._at += more
        self._take(b"}")
        if self._next():
            raise self._not_json("there is more behind the table")
        return found

    def _next(self) -> bytes:
        """Pass over blanks, and return the byte behind them without taking it; empty at the end."""
        stop = self._at
        while self._at == stop:
            stop += _BLOCK_BYTES
            self._at = _end(_SPACE, self._body, self._at, stop)
        return self._body[self._at : self._at + 1]

    def _take(self, mark: bytes) -> None:
        if self._next() != mark:
            raise self._not_json(f"expected `{mark.decode()}`")
        self._at += 1

    def _open(self, mark: bytes, where: tuple[str, ...], otherwise: str) -> None:
        """Take the mark that begins an object or an array; another value is wrong `otherwise`."""
        if self._next() != mark and _ANY_VALUE.match(self._body, self._at):
            raise _wrong(where, otherwise)
        self._take(mark)

    def _key(self, names: Sequence[str]) -> str:
        self._next()
        end = _end(_KEY, self._body, self._at)
        if end == self._at:
            if self._body[self._at : self._at + 1] == b'"':
                raise WrongValues("a column's name is too long, or holds a character that JSON does not allow")
            raise self._not_json('expected `"`')
        try:
            name: str = orjson.loads(self._body[self._at : end])
        except ValueError:
            raise self._not_json("this text is not JSON") from None
        if name not in names:
            raise _wrong((name,), "is not a feature of this model; its features are " + ", ".join(names))
        self._at = end
        return name

    def _array(self, name: str) -> NDArray[np.float32]:
        self._open(b"[", (name,), NOT_AN_ARRAY)
        blocks = [np.empty(0, dtype=np.float32)]
        count = 0
        # Of numbers alone, an array ends at the first bracket; anything else in it is refused before its end matters.
        end = self._body.find(b"]", self._at)
        end = len(self._body) if end < 0 else end
        more = self._next() != b"]"
        while more:
            stop = self._block_end(end)
            blocks.append(self._block(stop, name, count))
            count += len(blocks[-1])
            more = stop < end
            self._at = stop + more
        self._take(b"]")
        return np.concatenate(blocks)

    def _block_end(self, end: int) -> int:
        """Return where the block ends that begins here: at a comma, or at the array's end."""
        if end - self._at <= _BLOCK_BYTES:
            return end
        stop = self._body.rfind(b",", self._at, self._at + _BLOCK_BYTES)
        if stop < 0:
            stop = self._body.find(b",", self._at + _BLOCK_BYTES, end)
        return end if stop < 0 else stop

    def _block(self, stop: int, name: str, count: int) -> NDArray[np.float32]:
        """Return the numbers from here to `stop`; `count` are those of this array before them."""
        text = self._body[self._at : stop]
        if len(text) > _BLOCK_BYTES and len(text := text.strip(b" \t\n\r")) > _BLOCK_BYTES:
            raise _wrong((name, count), f"is longer than {_BLOCK_BYTES} characters")
        try:
            array: Any = self._parser.parse(b"[%b]" % text)
            values = np.frombuffer(array.as_buffer(of_type="d"))
        except (ValueError, TypeError, RuntimeError):
            values = np.empty(0)
        if not len(values) or values.min() < -FLOAT32_MAX or values.max() > FLOAT32_MAX:
            values = self._odd_block(text, name, count)
        return values.astype(np.float32)

    def _odd_block(self, text: bytes, name: str, count: int) -> NDArray[np.float64]:
        """Return numbers that are longer than the parser takes, or raise for the first thing that is wrong."""
        good = _end(_NUMBERS, text + b",")
        if good <= len(text):
            self._refuse(text, good, (name, count + text.count(b",", 0, good)))
        values = np.array([float(number) for number in text.split(b",")])
        wrong = np.flatnonzero(~(np.abs(values) <= FLOAT32_MAX))
        if len(wrong):
            what = BEYOND_FLOAT32 if np.isfinite(values[wrong[0]]) else NOT_FINITE
            raise _wrong((name, count + int(wrong[0])), what)
        return values

    def _refuse(self, text: bytes, start: int, where: tuple[str | int, ...]) -> None:
        """Raise for the item of the block that begins at `start`, which is no number."""
        start = _end(_SPACE, text, start)
        if _NOT_FINITE.match(text, start):
            raise _wrong(where, NOT_FINITE)
        if _OTHER_VALUE.match(text, start):
            raise _wrong(where, NOT_A_NUMBER)
        self._at += start
        raise self._not_json("expected a number")

    def _not_json(self, why: str) -> NotParseable:
        """Return the problem of what stands here, with its place as an editor counts."""
        if self._at >= len(self._body):
            return NotParseable("the body is not JSON: the body ends before the table does")
        line = self._body.count(b"\n", 0, self._at) + 1
        column = self._at - self._body.rfind(b"\n", 0, self._at)
        return NotParseable(f"the body is not JSON: {why} at line {line} column {column}")


def _wrong(where: tuple[str | int, ...], what: str) -> WrongValues:
    fault = Fault(pointer(where), what)
    return WrongValues(summary([fault], 1), faults=[fault])


def _end(pattern: re.Pattern[bytes], text: bytes, start: int = 0, stop: int | None = None) -> int:
    """Return where the pattern's match at `start` ends, `start` itself where there is none."""
    found = pattern.match(text, start) if stop is None else pattern.match(text, start, stop)
    return found.end() if found else start

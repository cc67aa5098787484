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

from service.problems import Fault, NotParseable, Problem, WrongValues, pointer
from service.tables.table import FLOAT32_MAX, summary

NOT_A_TABLE: Final = "is not an object with one array per column"
NOT_AN_ARRAY: Final = "is not an array"
NOT_A_NUMBER: Final = "is not a number"
NOT_FINITE: Final = "is not a finite number"
BEYOND_FLOAT32: Final = "is beyond float32"
MISSING: Final = "this column is missing"

BLOCK_BYTES: Final = 2**16

_SPACE = re.compile(rb"[ \t\n\r]*+")
# A column's name has up to 200 characters, each of which JSON may write in up to twelve bytes.
_KEY = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.){0,2400}+"')
_NUMBER = rb"[ \t\n\r]*+-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+[ \t\n\r]*+"
_NUMBERS = re.compile(rb"(?:%b,)*+" % _NUMBER)
_NOT_FINITE = re.compile(rb"-?(?:Infinity|NaN)\b")
# How a value begins that JSON has, and that is no number.
OTHER_VALUE = re.compile(rb'["\[{]|true|false|null')
_ANY_VALUE = re.compile(rb'["\[{0-9-]|true|false|null')


class ItemError(Exception):
    """Item `index` of a text of numbers, which begins at `start`, is no number."""

    def __init__(self, index: int, start: int) -> None:
        super().__init__(index, start)
        self.index = index
        self.start = start


def block_end(text: bytes, start: int, end: int) -> int:
    """Return where the block ends that begins at `start`: at a comma, or at `end` where none is left."""
    if end - start <= BLOCK_BYTES:
        return end
    stop = text.rfind(b",", start, start + BLOCK_BYTES)
    if stop < 0:
        stop = text.find(b",", start + BLOCK_BYTES, end)
    return end if stop < 0 else stop


def numbers(parser: simdjson.Parser, text: bytes) -> NDArray[np.float64]:
    """Return the JSON numbers of a text such as ``1, 2.5``; those beyond float64 are infinite. Raises ItemError."""
    try:
        array: Any = parser.parse(b"[%b]" % text)
        values = np.frombuffer(array.as_buffer(of_type="d"))
        if len(values):
            return values
    except (ValueError, TypeError, RuntimeError):
        pass
    good = _end(_NUMBERS, text + b",")
    if good <= len(text):
        raise ItemError(text.count(b",", 0, good), _end(_SPACE, text, good))
    return np.array([float(number) for number in text.split(b",")])  # longer than the parser takes


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
            stop += BLOCK_BYTES
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
            stop = block_end(self._body, self._at, end)
            blocks.append(self._block(stop, name, count))
            count += len(blocks[-1])
            more = stop < end
            self._at = stop + more
        self._take(b"]")
        return np.concatenate(blocks)

    def _block(self, stop: int, name: str, count: int) -> NDArray[np.float32]:
        """Return the numbers from here to `stop`; `count` are those of this array before them."""
        text = self._body[self._at : stop]
        if len(text) > BLOCK_BYTES and len(text := text.strip(b" \t\n\r")) > BLOCK_BYTES:
            is_other = OTHER_VALUE.match(text)
            raise _wrong((name, count), NOT_A_NUMBER if is_other else f"is longer than {BLOCK_BYTES} characters")
        try:
            values = numbers(self._parser, text)
        except ItemError as item:
            raise self._item_problem(text, item, (name, count + item.index)) from None
        if values.min() < -FLOAT32_MAX or values.max() > FLOAT32_MAX:
            wrong = int(np.argmax(np.abs(values) > FLOAT32_MAX))
            raise _wrong((name, count + wrong), BEYOND_FLOAT32 if np.isfinite(values[wrong]) else NOT_FINITE)
        return values.astype(np.float32)

    def _item_problem(self, text: bytes, item: ItemError, where: tuple[str | int, ...]) -> Problem:
        if _NOT_FINITE.match(text, item.start):
            return _wrong(where, NOT_FINITE)
        if OTHER_VALUE.match(text, item.start):
            return _wrong(where, NOT_A_NUMBER)
        self._at += item.start
        return self._not_json("expected a number")

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

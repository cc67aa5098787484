"""Readings: a CSV file in, checked float32 columns out.

Owns what a usable file is. Knows nothing of networks, nor which columns are features and which are targets.
"""

import csv
import hashlib
import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import InvalidInputError, from_os

_DELIMITERS = ",;"
_NAME_MAX_LENGTH = 200
_FLOAT32_MAX = float(np.finfo(np.float32).max)

# Far inside float32, so that a column's mean, standard deviation and standardised values all lie in it too.
_SPREAD_MIN, _SPREAD_MAX = 1e-30, 1e30


@dataclass(frozen=True, slots=True)
class Readings:
    """A table of readings: `values` is ``[rows, columns]`` float32, finite, and no column of it is constant."""

    file: str
    sha256: str
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]


def read(path: Path) -> Readings:
    """Read a UTF-8 CSV file: a line of column names, then numbers, separated by commas or by semicolons.

    Raises InvalidInputError, which names the file, and the line and the column where the trouble has them.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise from_os(path, error) from error
    table = _Table(path, _decode(path, content))
    values = table.values()
    return Readings(path.name, hashlib.sha256(content).hexdigest(), table.names, values)


def _decode(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(f"{path}, line {line}: is not UTF-8 text") from error
    if not text.strip():
        raise InvalidInputError(f"{path}: is empty")
    return text


class _Table:
    """A CSV text that is being read; it remembers the line of each row, for the messages."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._delimiter, self.names = self._header(text)
        self._text = text
        self._lines = array("q")

    def values(self) -> npt.NDArray[np.float32]:
        """All rows, checked."""
        width = len(self.names)
        numbers = array("d")
        for line, row in self._rows():
            if len(row) != width:
                raise self._error(line, f"has {_count(len(row), 'value')} for {_count(width, 'column')}")
            try:
                numbers.extend(map(_number, row))
            except ValueError:
                raise self._not_a_number(line, row) from None
            self._lines.append(line)
        exact = np.frombuffer(numbers, dtype=np.float64).reshape(-1, width)
        self._check(exact)
        return exact.astype(np.float32)

    def _header(self, text: str) -> tuple[str, tuple[str, ...]]:
        # The delimiter is the one that finds more columns in the first line.
        candidates = [(delimiter, _first_row(text, delimiter)) for delimiter in _DELIMITERS]
        delimiter, row = max(candidates, key=lambda candidate: len(candidate[1]))
        names = tuple(name.strip() for name in row)
        if all(map(_is_number, names)):
            raise self._error(1, "must hold the names of the columns")
        for position, name in enumerate(names, start=1):
            if not name or len(name) > _NAME_MAX_LENGTH or not name.isprintable():
                message = f"the name of column {position} must be 1 to {_NAME_MAX_LENGTH} printable characters"
                raise self._error(1, message)
            if name in names[: position - 1]:
                raise self._error(1, "two columns have this name", name)
        return delimiter, names

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            next(reader)
            yield from ((reader.line_num, row) for row in reader if row)
        except csv.Error as error:
            raise self._error(reader.line_num, str(error)) from error

    def _check(self, exact: npt.NDArray[np.float64]) -> None:
        if len(exact) < 2:
            raise InvalidInputError(
                f"{self._path}: has {_count(len(exact), 'row')} of readings, and at least 2 are needed"
            )
        # Also true of NaN.
        unfit = ~(np.abs(exact) <= _FLOAT32_MAX)
        if unfit.any():
            row, column = np.argwhere(unfit)[0]
            message = f"{exact[row, column]} is not a finite float32 number"
            raise self._error(self._lines[row], message, self.names[column])
        spreads = exact.astype(np.float32).std(axis=0, dtype=np.float64)
        for name, spread in zip(self.names, spreads, strict=True):
            where = f"{self._path}, column {name!r}"
            if spread == 0:
                raise InvalidInputError(f"{where}: is constant, so nothing can be learned from it")
            if not _SPREAD_MIN < spread < _SPREAD_MAX:
                raise InvalidInputError(f"{where}: varies by about {spread:.1g}, which float32 cannot scale")

    def _not_a_number(self, line: int, row: list[str]) -> InvalidInputError:
        name, text = next((name, text) for name, text in zip(self.names, row, strict=True) if not _is_number(text))
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        return self._error(line, f"{shown!r} is not a number" if text.strip() else "the value is missing", name)

    def _error(self, line: int, message: str, column: str | None = None) -> InvalidInputError:
        where = "" if column is None else f", column {column!r}"
        return InvalidInputError(f"{self._path}, line {line}{where}: {message}")


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return []


def _number(text: str) -> float:
    # Python reads 1_000 as a number; no instrument writes one so.
    if "_" in text:
        raise ValueError(text)
    return float(text)


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

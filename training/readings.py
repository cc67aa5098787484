"""Readings: a CSV file in, checked float32 columns out.

Owns what a usable file is. Knows nothing of networks, nor which columns are features and which are targets.
"""

import csv
import hashlib
import io
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import InvalidInputError, from_os

_DELIMITERS = ",;"
_NAME_MAX_LENGTH = 200
# The largest number that is a finite float32 once it is rounded.
_FLOAT32_MAX = math.nextafter(2.0**128 - 2.0**103, 0.0)

# Far inside float32, so that a column's mean, standard deviation and standardised values all lie in it too.
_SPREAD_MIN, _SPREAD_MAX = 1e-30, 1e30


@dataclass(frozen=True, slots=True)
class Readings:
    """A table of readings: `values` is ``[rows, columns]`` float32, and finite."""

    file: str
    sha256: str
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]


def read(path: Path) -> Readings:
    """Read a UTF-8 CSV file to learn from: a line of column names, then numbers, separated by commas or by semicolons.

    At least two rows, and no constant column. Raises InvalidInputError, which names the file, and the line and the
    column where the trouble has them.
    """
    _check_file_name(path)
    content = _content(path)
    table = _Table(path, _decode(path, content))
    table.check_names()
    readings = _readings(path, content, table, table.names)
    if len(readings.values) < 2:
        raise InvalidInputError(
            f"{path}: has {_count(len(readings.values), 'row')} of readings, and at least 2 are needed"
        )
    _check_spreads(path, readings)
    return readings


def read_columns(path: Path, names: Sequence[str]) -> Readings:
    """Read the columns of these names, in this order, and pass over whatever else such a file holds.

    At least one row. Raises InvalidInputError as `read` does.
    """
    content = _content(path)
    table = _Table(path, _decode(path, content))
    table.check_has(names)
    readings = _readings(path, content, table, tuple(names))
    if not len(readings.values):
        raise InvalidInputError(f"{path}: has no rows of readings")
    return readings


def _readings(path: Path, content: bytes, table: "_Table", names: tuple[str, ...]) -> Readings:
    return Readings(path.name, hashlib.sha256(content).hexdigest(), names, table.values(names))


def _check_spreads(path: Path, readings: Readings) -> None:
    spreads = readings.values.std(axis=0, dtype=np.float64)
    for name, spread in zip(readings.names, spreads, strict=True):
        where = f"{path}, column {name!r}"
        if spread == 0:
            raise InvalidInputError(f"{where}: is constant, so nothing can be learned from it")
        if not _SPREAD_MIN < spread < _SPREAD_MAX:
            raise InvalidInputError(f"{where}: varies by about {spread:.1g}, which float32 cannot scale")


def _check_file_name(path: Path) -> None:
    """Raise InvalidInputError where a manifest, which is UTF-8, cannot hold the file's name."""
    if not path.name.isprintable():
        raise InvalidInputError(f"{str(path)!r}: has a file name that cannot be printed; rename the file")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise from_os(path, error) from error


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
    """A CSV text that is being read; its messages name the line."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        # The delimiter is the one that finds more columns in the first line.
        headers = {delimiter: _first_row(text, delimiter) for delimiter in _DELIMITERS}
        self._delimiter = max(headers, key=lambda delimiter: len(headers[delimiter]))
        self.names = tuple(name.strip() for name in headers[self._delimiter])

    def check_names(self) -> None:
        """Raise InvalidInputError unless every column has a usable name of its own."""
        if all(map(_is_number, self.names)):
            raise self._error(1, "must hold the names of the columns")
        for position, name in enumerate(self.names, start=1):
            if not name or len(name) > _NAME_MAX_LENGTH or not name.isprintable():
                message = f"the name of column {position} must be 1 to {_NAME_MAX_LENGTH} printable characters"
                raise self._error(1, message)
        self.check_has(self.names)

    def check_has(self, names: Sequence[str]) -> None:
        """Raise InvalidInputError unless there is one column of each name."""
        for name in names:
            if name not in self.names:
                raise self._error(1, f"has no column {name!r}; its columns are {_listed(self.names)}")
            if self.names.count(name) > 1:
                raise self._error(1, "two columns have this name", name)

    def values(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """The columns of these names ``[rows, columns]``, checked."""
        width = len(self.names)
        positions = [self.names.index(name) for name in names]
        lines, numbers = array("q"), array("d")
        for line, row in self._rows():
            if len(row) != width:
                raise self._error(line, f"has {_count(len(row), 'value')} for {_count(width, 'column')}")
            try:
                numbers.extend([_number(row[position]) for position in positions])
            except ValueError:
                raise self._not_a_number(line, names, [row[position] for position in positions]) from None
            lines.append(line)
        exact = np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(names))
        self._check_finite(exact, names, lines)
        return exact.astype(np.float32)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            next(reader)
            yield from ((reader.line_num, row) for row in reader if row)
        except csv.Error as error:
            raise self._error(reader.line_num, str(error)) from error

    def _check_finite(self, exact: npt.NDArray[np.float64], names: Sequence[str], lines: "array[int]") -> None:
        # Also true of NaN.
        unfit = ~(np.abs(exact) <= _FLOAT32_MAX)
        if unfit.any():
            row, column = np.argwhere(unfit)[0]
            raise self._error(lines[row], f"{exact[row, column]} is not a finite float32 number", names[column])

    def _not_a_number(self, line: int, names: Sequence[str], row: Sequence[str]) -> InvalidInputError:
        name, text = next((name, text) for name, text in zip(names, row, strict=True) if not _is_number(text))
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
    # Python reads 1_000 and the digits of other scripts too; the service does not.
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return float(text)


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(name if name.isprintable() else repr(name) for name in names)
    return listed if len(listed) <= 1_000 else f"{listed[:1_000]}..."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

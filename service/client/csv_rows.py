"""A CSV file's rows: numbers for the features, and every cell as it came for the output. Knows no service."""

import csv
import io
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STANDARD_INPUT = "-"

_DELIMITERS = ",;"
# The largest number that is a finite float32 once it is rounded.
_FLOAT32_MAX = math.nextafter(2.0**128 - 2.0**103, 0.0)


class BadFile(Exception):
    """The file is no CSV of numbers; the message names it, and the line and column where there is one."""


@dataclass(frozen=True, slots=True)
class CsvRows:
    """A CSV file's cells as they are, and the number of the line that each row ends on."""

    file: str
    delimiter: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    @classmethod
    def read(cls, file: str) -> "CsvRows":
        """A UTF-8 file, or standard input: a line of column names, then rows; raises BadFile."""
        try:
            content = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise BadFile(f"{file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise BadFile(f"{file}: is not UTF-8 text") from error
        # The delimiter is the one that finds more columns in the first line.
        delimiter = max(_DELIMITERS, key=lambda candidate: len(next(_parsed(file, text, candidate), (0, []))[1]))
        parsed = list(_parsed(file, text, delimiter))
        if not parsed:
            raise BadFile(f"{file}: is empty")
        names = [name.strip() for name in parsed[0][1]]
        if len(set(names)) < len(names):
            raise BadFile(f"{file}, line 1: two columns have one name")
        for line, row in parsed:
            if len(row) != len(names):
                raise BadFile(f"{file}, line {line}: the columns are {len(names)}, and the values {len(row)}")
        return cls(file, delimiter, names, [row for _, row in parsed[1:]], [line for line, _ in parsed[1:]])

    def columns(self, features: tuple[str, ...]) -> dict[str, list[Any]]:
        """Every column: numbers for a feature, else text; raises BadFile for a cell that is not a number."""
        return {
            name: [self._number(row, at) for row in range(len(self.rows))]
            if name in features
            else [row[at] for row in self.rows]
            for at, name in enumerate(self.names)
        }

    def _number(self, row: int, at: int) -> float:
        cell = self.rows[row][at]
        try:
            # Python reads 1_000 and the digits of other scripts too.
            number = float(cell) if cell.isascii() and "_" not in cell else np.nan
        except ValueError:
            number = np.nan
        if not abs(number) <= _FLOAT32_MAX:  # also true of NaN
            where = f"{self.file}, line {self.lines[row]}, column {self.names[at]}"
            raise BadFile(f"{where}: {cell[:80]!r} is not a finite float32 number")
        return number

    def write(self, answered: dict[str, list[Any]]) -> None:
        """The cells as they came, and the columns that were appended."""
        appended = list(answered)[len(self.names) :]
        writer = csv.writer(sys.stdout, delimiter=self.delimiter, lineterminator="\n")
        writer.writerow([*self.names, *appended])
        columns = zip(*(map(_cell, answered[name]) for name in appended), strict=True)
        writer.writerows([*row, *more] for row, more in zip(self.rows, columns, strict=True))


def _parsed(file: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with its line number."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        raise BadFile(f"{file}, line {reader.line_num}: {error}") from error


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
    return str(value)

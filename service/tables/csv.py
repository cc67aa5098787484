"""CSV in and out: a line of column names, then a line for each row (RFC 4180), in UTF-8.

A row's line is kept as it came, and what is answered is written behind it: other columns stay as they are.
"""

import csv
import io
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from service.entry import Rows
from service.problems import MAX_FAULTS, Fault, NotParseable, WrongValues
from service.tables.table import BLOCK_ROWS, FLOAT32_MAX, Table, Values, blocks, check_count, check_names, summary

_SEPARATORS = ",;"
_LINE_END = "\r\n"
# The parser keeps the interpreter to itself until a line's end.
_LONGEST_LINE = 2**18
# Of these alone, Python makes a number exactly where there is a decimal one: no nan, no 1_000, no digits but ours.
_NUMERIC = b"0123456789+-.eE \t"

# The line on which a record begins, the record as it stands there, and its cells.
_Record: TypeAlias = tuple[int, str, list[str]]


class CsvTable(Table):
    """A table from a CSV, and each of its records as it came, without its line end."""

    def __init__(self, text: str, features: Sequence[str], max_rows: int) -> None:
        """Raises WrongValues, NotParseable or TooLarge."""
        self.separator = _separator(text, features)
        records = _records(text, self.separator)
        first = next(records, None)
        if first is None:
            raise NotParseable("the body is empty; a CSV begins with a line of column names")
        line, self.header, cells = first
        self._names = tuple(name.strip() for name in cells)
        check_names(self._names, features, f"line {line}, ")
        end = text.find("\n")
        self.line_end = "\n" if end >= 0 and text[end - 1] != "\r" else _LINE_END
        self.records: list[str] = []
        self._lines = array("q")
        self._positions = [self._names.index(name) for name in features]
        rows = [np.empty((0, len(self._positions)), dtype=np.float32)]
        while block := list(islice(records, BLOCK_ROWS)):
            check_count(len(self.records) + len(block), max_rows)
            rows.append(self._read(block))
        super().__init__(np.concatenate(rows), features)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of the file."""
        return self._names

    def blocks(self) -> Iterator[tuple[slice, Mapping[str, Values]]]:
        """Features as numbers, other columns as the text that they are."""
        for rows in blocks(len(self)):
            cells = zip(*csv.reader(self.records[rows], delimiter=self.separator), strict=True)
            columns: dict[str, Values] = {name: list(column) for name, column in zip(self._names, cells, strict=True)}
            yield rows, columns | dict(zip(self.features, self.rows[rows].T, strict=True))

    def places(self, rows: Sequence[int], name: str) -> list[str]:
        """Lines are counted as an editor counts them."""
        return [f"line {self._lines[row]}, column {name}" for row in rows]

    def _read(self, block: list[_Record]) -> Rows:
        lines, records, rows = zip(*block, strict=True)
        if set(map(len, rows)) != {len(self._names)}:
            raise self._problem(block)
        cells = list(zip(*rows, strict=True))
        columns = [_numbers(cells[position]) for position in self._positions]
        numbers = [column for column in columns if column is not None]
        if len(numbers) < len(columns):
            raise self._problem(block)
        self._lines.extend(lines)
        self.records += records
        return np.array(numbers, dtype=np.float32).T

    def _problem(self, block: list[_Record]) -> WrongValues:
        faults = list(islice(chain.from_iterable(map(self._faults, block)), MAX_FAULTS + 1))
        return WrongValues(summary(faults, len(faults)), faults=faults[:MAX_FAULTS])

    def _faults(self, record: _Record) -> Iterator[Fault]:
        line, _, cells = record
        if len(cells) != len(self._names):
            yield Fault(f"line {line}", f"does not have as many values ({len(cells)}) as columns ({len(self._names)})")
            return
        for position in self._positions:
            if (wrong := _wrong(cells[position])) is not None:
                yield Fault(f"line {line}, column {self._names[position]}", wrong)


def read(body: bytes, features: Sequence[str], max_rows: int) -> CsvTable:
    """A table from a CSV, separated by commas or semicolons; raises NotParseable, WrongValues or TooLarge."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise NotParseable(f"line {line} is not UTF-8 text") from None
    return CsvTable(text, features, max_rows)


def write(table: Table, added: Mapping[str, Values]) -> bytes:
    """The table with the added columns behind its own; raises what the table's own columns do."""
    if isinstance(table, CsvTable):
        separator, line_end, heading = table.separator, table.line_end, [table.header]
        own = ((rows, [table.records[rows]]) for rows in blocks(len(table)))
    else:
        separator, line_end, heading = ",", _LINE_END, _texts(list(table.names), ",")
        own = ((rows, [_texts(column, ",") for column in columns.values()]) for rows, columns in table.blocks())
    written = [separator.join([*heading, *_texts(list(added), separator)]).encode()]
    for rows, columns in own:
        columns += [_texts(values[rows], separator) for values in added.values()]
        written.append(line_end.join(map(separator.join, zip(*columns, strict=True))).encode())
    end = line_end.encode()
    return end.join(written) + end


def _separator(text: str, features: Sequence[str]) -> str:
    """The one that finds more of the features in the first line, or else more columns, as in training."""
    first = io.StringIO(text.lstrip("\r\n"), newline="").readline(_LONGEST_LINE)

    def found(separator: str) -> tuple[int, int]:
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        except csv.Error:
            return 0, 0
        return len(set(features) & set(names)), len(names)

    return max(_SEPARATORS, key=found)


def _records(text: str, separator: str) -> Iterator[_Record]:
    """Every record that is not blank; raises NotParseable."""
    lines: list[str] = []

    def lines_read() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            if len(line) > _LONGEST_LINE:
                raise NotParseable(f"a line is longer than {_LONGEST_LINE} characters")
            lines.append(line)
            yield line

    reader = csv.reader(lines_read(), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, "".join(lines).rstrip("\r\n"), cells
            lines.clear()
            line = reader.line_num + 1
    except csv.Error as error:
        raise NotParseable(f"line {line} is not CSV: {error}") from None


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """All of them; None where one is not a decimal number within float32."""
    if "".join(cells).encode().translate(None, _NUMERIC):
        return None
    try:
        numbers = np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
    except ValueError:
        return None
    return numbers if (np.abs(numbers) <= FLOAT32_MAX).all() else None


def _wrong(cell: str) -> str | None:
    if not cell.strip():
        return "is empty"
    if _numbers([cell]) is not None:
        return None
    try:
        is_decimal = not cell.encode().translate(None, _NUMERIC) and bool(float(cell))
    except ValueError:
        is_decimal = False
    return "is beyond float32" if is_decimal else "is not a number"


def _texts(values: Values, separator: str) -> list[str]:
    """Each value as a cell; of a number, the fewest digits that read back as the same float32."""
    if isinstance(values, list):
        special = (separator, '"', "\r", "\n")
        text = "".join(values)
        if not any(mark in text for mark in special):
            return values
        return [_quoted(cell) if any(mark in cell for mark in special) else cell for cell in values]
    if values.dtype == np.bool_:
        return ["true" if value else "false" for value in values.tolist()]
    if not len(values):
        return []
    # JSON has no NaN and no Infinity: what it calls null is an empty cell here.
    numbers = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    return numbers[1:-1].decode().replace("null", "").split(",")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'

"""CSV in and out: a line of column names, then a line for each row (RFC 4180), in UTF-8.

A row's line is kept as it came, and what is answered is written behind it: other columns stay as they are.
"""

import csv
import io
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import orjson
from numpy.typing import NDArray

from service.entry import Rows
from service.problems import MAX_FAULTS, Fault, NotParseable, WrongValues
from service.tables.table import FLOAT32_MAX, Table, Values, blocks, check_count, check_names, summary

_SEPARATORS = ",;"
_LINE_END = "\r\n"
_BLANK_LINES = re.compile(r"[\r\n]*+")
_PIECE_LENGTH = 2**16
# The parser keeps the interpreter to itself until a line's end.
_LONGEST_LINE = 2**18
# Of these alone, Python makes a number exactly where there is a decimal one: no nan, no 1_000, no digits but ours.
_NUMERIC = b"0123456789+-.eE \t"
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Few enough that their cells are gone again before the garbage collector has looked at them twice.
_ROWS_AT_ONCE = 256
_CELLS_AT_ONCE = 2**14


class _Records:
    """The records of a text that are not blank; of those read so far, where each stands, and its first line.

    Places and no texts are kept: to free a million texts takes so long that every other thread would notice.
    """

    def __init__(self, text: str, separator: str) -> None:
        self.lines = array("q")
        self._text = text
        self._separator = separator
        self._starts = array("q")
        self._stops = array("q")
        self._read = 0

    def __len__(self) -> int:
        return len(self._starts)

    def texts(self, records: slice) -> list[str]:
        """Return these records as they stand in the text, without their line ends."""
        places = zip(self._starts[records], self._stops[records], strict=True)
        return [self._text[start:stop].rstrip("\r\n") for start, stop in places]

    def cells(self) -> Iterator[list[str]]:
        """Read one after another; raises NotParseable."""
        reader = csv.reader(self._lines_read(), delimiter=self._separator, strict=True)
        number, start = 1, 0
        try:
            for cells in reader:
                if cells:
                    self.lines.append(number)
                    self._starts.append(start)
                    self._stops.append(self._read)
                    yield cells
                start = self._read
                number = reader.line_num + 1
        except csv.Error as error:
            raise NotParseable(f"line {number} is not CSV: {error}") from None

    def _lines_read(self) -> Iterator[str]:
        for piece in _pieces(self._text):
            for line in io.StringIO(piece, newline=""):
                if len(line) > _LONGEST_LINE:
                    raise NotParseable(f"a line is longer than {_LONGEST_LINE} characters")
                self._read += len(line)
                yield line


def _pieces(text: str) -> Iterator[str]:
    """Give the text in pieces of whole lines."""
    start = 0
    marks = ["\n", "\r"]
    while start < len(text):
        ends = {mark: text.find(mark, start + _PIECE_LENGTH) for mark in marks}
        marks = [mark for mark in marks if ends[mark] >= 0]  # one that is not there is not looked for again
        stop = min((ends[mark] + 1 for mark in marks), default=len(text))
        stop += text[stop - 1 : stop + 1] == _LINE_END
        if stop - start > _PIECE_LENGTH + _LONGEST_LINE:
            raise NotParseable(f"a line is longer than {_LONGEST_LINE} characters")
        yield text[start:stop]
        start = stop


class CsvTable(Table):
    """A table from a CSV; each of its records is kept as it came."""

    def __init__(self, text: str, features: Sequence[str], max_rows: int) -> None:
        """Raises WrongValues, NotParseable or TooLarge."""
        self.separator = _separator(text, features)
        end = text.find("\n")
        self.line_end = "\n" if end >= 0 and text[end - 1] != "\r" else _LINE_END
        self._records = read = _Records(text, self.separator)
        records = read.cells()
        header = next(records, None)
        if header is None:
            raise NotParseable("the body is empty; a CSV begins with a line of column names")
        names = tuple(name.strip() for name in header)
        check_names(names, features, f"line {read.lines[0]}, ")
        self.names = names
        self._positions = [names.index(name) for name in features]
        self._lines = read.lines
        rows = [np.empty((0, len(features)), dtype=np.float32)]
        at_once = max(1, min(_ROWS_AT_ONCE, _CELLS_AT_ONCE // len(names)))
        while block := list(islice(records, at_once)):
            check_count(len(read) - 1, max_rows)
            rows.append(self._checked(block))
        self.header = read.texts(slice(0, 1))[0]
        super().__init__(np.ascontiguousarray(np.concatenate(rows)), features, names)

    def records(self, rows: slice) -> list[str]:
        """Return these rows as they came, without their line ends."""
        return self._records.texts(slice(rows.start + 1, rows.stop + 1))

    def blocks(self) -> Iterator[tuple[slice, Mapping[str, Values]]]:
        """Features as numbers, other columns as the text that they are."""
        for rows in blocks(len(self)):
            columns: dict[str, Values] = {name: [] for name in self.names}
            if len(self.names) > len(self.features):
                cells = zip(*csv.reader(self.records(rows), delimiter=self.separator), strict=True)
                columns.update(zip(self.names, map(list, cells), strict=True))
            columns.update(zip(self.features, self.rows[rows].T, strict=True))
            yield rows, columns

    def places(self, rows: Sequence[int], name: str) -> list[str]:
        """Lines are counted as an editor counts them; the first record is the header."""
        return [f"line {self._lines[row + 1]}, column {name}" for row in rows]

    def _checked(self, block: Sequence[Sequence[str]]) -> Rows:
        if set(map(len, block)) != {len(self.names)}:
            raise self._problem(block)
        cells = ([row[position] for row in block] for position in self._positions)
        columns = [numbers for column in cells if (numbers := _numbers(column)) is not None]
        if len(columns) < len(self._positions):
            raise self._problem(block)
        return np.array(columns, dtype=np.float32).T

    def _problem(self, block: Sequence[Sequence[str]]) -> WrongValues:
        """What is wrong with the rows that were read last."""
        lines = self._lines[-len(block) :]
        found = chain.from_iterable(self._faults(line, cells) for line, cells in zip(lines, block, strict=True))
        faults = list(islice(found, MAX_FAULTS + 1))
        return WrongValues(summary(faults, len(faults)), faults=faults[:MAX_FAULTS])

    def _faults(self, line: int, cells: Sequence[str]) -> Iterator[Fault]:
        if len(cells) != len(self.names):
            yield Fault(f"line {line}", f"does not have as many values ({len(cells)}) as columns ({len(self.names)})")
            return
        for position in self._positions:
            if (wrong := _wrong(cells[position])) is not None:
                yield Fault(f"line {line}, column {self.names[position]}", wrong)


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
        own = ((rows, [table.records(rows)]) for rows in blocks(len(table)))
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
    start = _BLANK_LINES.match(text).end()  # type: ignore[union-attr]  # it matches nothing as well
    first = io.StringIO(text[start : start + _LONGEST_LINE], newline="").readline()

    def found(separator: str) -> tuple[int, int]:
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        except csv.Error:
            return 0, 0
        return len(set(features) & set(names)), len(names)

    return max(_SEPARATORS, key=found)


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
    return "is beyond float32" if _DECIMAL.fullmatch(cell.strip(" \t")) else "is not a number"


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

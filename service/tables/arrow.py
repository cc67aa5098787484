"""Arrow in and out: an IPC stream (https://arrow.apache.org/docs/format/Columnar.html). The only caller of pyarrow.

Imported when a request needs it, as pyarrow is an extra. What a stream says of itself is not believed: it is checked
before it is decoded, so that a few bytes cannot stand for gigabytes.
"""

import io
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.entry import Rows
from service.problems import MAX_FAULTS, Fault, NotParseable, TooLarge, WrongValues
from service.tables.table import FLOAT32_MAX, Table, Values, blocks, check_count, check_names, summary

# pyarrow has no types of its own to offer.
Array: TypeAlias = Any
Batch: TypeAlias = Any
Field: TypeAlias = Any
Schema: TypeAlias = Any

_UNREADABLE = (pa.ArrowException, OSError, ValueError, MemoryError)
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
# What a table's columns may take when they are written: of an honest table, this is never too little.
_MOST_BYTES, _MOST_TIMES = 128 * 2**20, 8
# Of a number, a truth value or a day, about as many as there are in most.
_NUMBER_BYTES = 8
_NUMERIC = "an integer, floating-point or decimal type, or a dictionary of one"


class ArrowTable(Table):
    """A table from an Arrow stream, and its record batches as they came."""

    def __init__(self, schema: Schema, batches: Sequence[Batch], features: Sequence[str], most_bytes: int) -> None:
        """`most_bytes` is what its columns may take when they are written; raises WrongValues."""
        self.schema = schema
        self.batches = batches
        self.most_bytes = most_bytes
        super().__init__(_rows(schema, batches, features), features)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column of the stream."""
        return tuple(self.schema.names)

    def blocks(self) -> Iterator[tuple[slice, Mapping[str, Values]]]:
        """Every column as text; raises WrongValues where a type has none, TooLarge for text out of all proportion."""
        first, size = 0, 0
        for batch in self.batches:
            for rows in blocks(batch.num_rows):
                piece = batch.slice(rows.start, rows.stop - rows.start)
                texts: dict[str, Values] = {}
                for field, array in zip(self.schema, piece.columns, strict=True):
                    size += _text_bytes(field, array)
                    if size > self.most_bytes:
                        raise TooLarge(f"as text, the table would have more than {self.most_bytes} bytes")
                    texts[field.name] = _text(field, array)
                yield slice(first + rows.start, first + rows.stop), texts
            first += batch.num_rows

    def places(self, rows: Sequence[int], name: str) -> list[str]:
        """Rows are counted from 0, as in `out_of_range`."""
        return [_place(row, name) for row in rows]


def read(body: bytes, features: Sequence[str], max_rows: int) -> ArrowTable:
    """A table from an Arrow stream; raises NotParseable, WrongValues or TooLarge."""
    try:
        _check_messages(body)
        stream = pa.ipc.open_stream(body, options=pa.ipc.IpcReadOptions(use_threads=False))
        schema = stream.schema
        check_names(schema.names, features)
        batches, count = [], 0
        for batch in stream:
            count += batch.num_rows
            check_count(count, max_rows)
            batch.validate(full=True)
            batches.append(batch)
    except _UNREADABLE as error:
        raise NotParseable(f"the body is not a whole, valid Arrow IPC stream: {_reason(error)}") from None
    return ArrowTable(schema, batches, features, _MOST_BYTES + _MOST_TIMES * len(body))


def write(table: Table, added: Mapping[str, Values]) -> bytes:
    """The table with the added columns behind its own; raises TooLarge where they are out of all proportion."""
    schema, batches = _own(table)
    arrays = {name: _array(values) for name, values in added.items()}
    for name, array in arrays.items():
        schema = schema.append(pa.field(name, array.type, nullable=False))
    own_bytes = table.most_bytes if isinstance(table, ArrowTable) else math.inf
    sink = _Sink(own_bytes + sum(array.nbytes for array in arrays.values()))
    first = 0
    try:
        with pa.ipc.new_stream(sink, schema) as stream:
            for batch in batches:
                more = [array.slice(first, batch.num_rows) for array in arrays.values()]
                stream.write_batch(pa.RecordBatch.from_arrays([*batch.columns, *more], schema=schema))
                first += batch.num_rows
    except pa.ArrowException as error:
        raise WrongValues(f"the table's own columns cannot be written as Arrow again: {_reason(error)}") from None
    return sink.getvalue()


class _Sink(io.BytesIO):
    """Takes so many bytes and no more, as what is there once in a stream that came may be written many times."""

    def __init__(self, most_bytes: float) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has bytes
        if self.tell() + len(data) > self._most_bytes:
            raise TooLarge(f"the answer would have more than {self._most_bytes:.0f} bytes")
        return super().write(data)


def _own(table: Table) -> tuple[Schema, Iterator[Batch]]:
    """The schema and the batches of a table as it came."""
    if isinstance(table, ArrowTable):
        return table.schema, iter(table.batches)
    types = [(name, pa.float32() if name in table.features else pa.string()) for name in table.names]
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in types])
    return schema, (
        pa.RecordBatch.from_arrays([_array(values) for values in columns.values()], schema=schema)
        for _, columns in table.blocks()
    )


def _array(values: Values) -> Array:
    return pa.array(values, pa.string()) if isinstance(values, list) else pa.array(np.ascontiguousarray(values))


# What can be refused before anything is decoded


def _check_messages(body: bytes) -> None:
    """Refuse what can grow without end: compressed buffers, and dictionaries that grow from batch to batch."""
    for message in pa.ipc.MessageReader.open_stream(body):
        metadata = message.metadata.to_pybytes()
        try:
            compressed, grows = _flags(metadata)
        except (struct.error, IndexError):
            raise NotParseable("the body is not an Arrow IPC stream: a message's head cannot be read") from None
        if compressed:
            raise WrongValues("the stream's buffers are compressed; write it without compression")
        if grows:
            raise WrongValues("the stream has delta dictionaries; write it with whole ones")


def _flags(metadata: bytes) -> tuple[bool, bool]:
    """Whether a message is compressed, and whether a delta dictionary, by its flatbuffer (Arrow's Message.fbs)."""
    message = _follow(metadata, 0)
    kind, header = _field(metadata, message, 1), _field(metadata, message, 2)
    if kind is None or header is None:
        return False, False
    record = _follow(metadata, header)
    grows = False
    if metadata[kind] == _DICTIONARY_BATCH:
        delta, data = _field(metadata, record, 2), _field(metadata, record, 1)
        grows = delta is not None and bool(metadata[delta])
        record = _follow(metadata, data) if data is not None else record
    elif metadata[kind] != _RECORD_BATCH:
        return False, False
    compressed = _field(metadata, record, 3) is not None or b"ARROW:experimental_compression" in metadata
    return compressed, grows


def _field(buffer: bytes, table: int, index: int) -> int | None:
    """Where a flatbuffer's table has this field; None where it has its default."""
    fields = table - int(struct.unpack_from("<i", buffer, table)[0])
    size, at = struct.unpack_from("<H", buffer, fields)[0], 4 + 2 * index
    offset = struct.unpack_from("<H", buffer, fields + at)[0] if at < size else 0
    return table + offset if offset else None


def _follow(buffer: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", buffer, at)[0])


# Features to float32


def _rows(schema: Schema, batches: Sequence[Batch], features: Sequence[str]) -> Rows:
    faults = [
        Fault(f"column {name}", f"is of type {_type_name(schema.field(name))}, and not {_NUMERIC}")
        for name in features
        if not _is_numeric(schema.field(name).type)
    ]
    if faults:
        raise WrongValues(summary(faults, len(faults)), faults=faults)
    rows = np.empty((sum(batch.num_rows for batch in batches), len(features)), dtype=np.float32)
    for position, name in enumerate(features):
        first = 0
        for batch in batches:
            numbers, wrong = _numbers(batch.column(name), name, first)
            if wrong:
                raise WrongValues(summary(wrong, len(wrong)), faults=wrong)
            rows[first : first + len(numbers), position] = numbers
            first += len(numbers)
    return rows


def _numbers(array: Array, name: str, first: int) -> tuple[NDArray[np.float64], list[Fault]]:
    """A column of a batch as numbers, and its values that are none or not within float32; `first` is its first row."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        numbers: NDArray[np.float64] = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        raise WrongValues(f"column {name} cannot be read as numbers") from None
    # A null is a NaN here; this is also true of one.
    unfit = np.flatnonzero(~(np.abs(numbers) <= FLOAT32_MAX))[:MAX_FAULTS].tolist()
    return numbers, [Fault(_place(first + row, name), _why(array[row].is_valid, numbers[row])) for row in unfit]


def _why(is_valid: bool, number: float) -> str:  # noqa: FBT001 - it is what pyarrow calls it
    if not is_valid:
        return "is null"
    return "is beyond float32" if np.isfinite(number) else "is not a finite number"


def _is_numeric(kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


# Columns to text


def _text(field: Field, array: Array) -> list[str]:
    try:
        text = pc.cast(array.dictionary_decode() if pa.types.is_dictionary(array.type) else array, pa.string())
    except pa.ArrowException as error:
        raise WrongValues(f"column {field.name} cannot be written as text: {_reason(error)}") from None
    cells: list[str] = pc.fill_null(text, "").to_pylist()
    return cells


def _text_bytes(field: Field, array: Array) -> int:
    """About how long a column's text is; raises WrongValues where CSV cannot hold the column."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if pa.types.is_dictionary(array.type):
            lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        else:
            lengths = pc.binary_length(array)
        return len(array) + (pc.sum(lengths).as_py() or 0)
    if pa.types.is_null(kind) or pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        return _NUMBER_BYTES * len(array)
    detail = f"is of type {_type_name(field)}, which CSV cannot hold; ask for Arrow, or leave it out"
    raise WrongValues(f"column {field.name} {detail}", faults=[Fault(f"column {field.name}", detail)])


def _type_name(field: Field) -> str:
    return str(field.type)[:100].encode("ascii", "replace").decode()


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200].encode("ascii", "replace").decode()


def _place(row: int, name: str) -> str:
    return f"row {row}, column {name}"

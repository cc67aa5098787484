"""Arrow in and out: an IPC stream (https://arrow.apache.org/docs/format/Columnar.html). The only caller of pyarrow.

Imported when a request needs it, as pyarrow is an extra. What a stream says of itself is not believed: it is checked
before it is decoded, so that a few bytes cannot stand for gigabytes.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.entry import Rows
from service.problems import MAX_FAULTS, Fault, NotParseable, TooLarge, WrongValues
from service.tables.message import check_message
from service.tables.table import FLOAT32_MAX, Table, Values, blocks, check_count, check_names, summary

# pyarrow has no types of its own to offer.
Array: TypeAlias = Any
Batch: TypeAlias = Any
Field: TypeAlias = Any
Schema: TypeAlias = Any

_UNREADABLE = (pa.ArrowException, OSError, ValueError, MemoryError)
# What a table's columns may take in memory, or as text: for an honest table, this is never too little.
_MOST_BYTES, _MOST_TIMES = 128 * 2**20, 8
# Of a number, a truth value or a day, about as many as there are in most.
_NUMBER_BYTES = 8
_NUMERIC = "an integer, floating-point or decimal type, or a dictionary of one"


class ArrowTable(Table):
    """A table from an Arrow stream, and its record batches as they came."""

    def __init__(self, schema: Schema, batches: Sequence[Batch], features: Sequence[str], most_bytes: int) -> None:
        """`most_bytes` is what its columns may take as text; raises WrongValues."""
        self.schema = schema
        self.batches = batches
        self.most_bytes = most_bytes
        super().__init__(_rows(schema, batches, features), features, schema.names)

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
    most_bytes = _MOST_BYTES + _MOST_TIMES * len(body)
    try:
        for message in pa.ipc.MessageReader.open_stream(body):
            check_message(message.metadata.to_pybytes())
        stream = pa.ipc.open_stream(body, options=pa.ipc.IpcReadOptions(use_threads=False))
        schema = stream.schema
        check_names(schema.names, features)
        batches, count, size = [], 0, 0
        for batch in stream:
            count += batch.num_rows
            check_count(count, max_rows)
            # Columns may share what they are made of, so that a small stream is a large table.
            size += sum(column.get_total_buffer_size() for column in batch.columns)
            if size > most_bytes:
                raise TooLarge(f"the stream stands for more than {most_bytes} bytes")
            batch.validate(full=True)
            batches.append(batch)
    except _UNREADABLE as error:
        raise NotParseable(f"the body is not a whole, valid Arrow IPC stream: {_reason(error)}") from None
    return ArrowTable(schema, batches, features, most_bytes)


def write(table: Table, added: Mapping[str, Values]) -> bytes:
    """The table with the added columns behind its own; raises WrongValues where they cannot be written."""
    schema, batches = _own(table)
    arrays = {name: _array(values) for name, values in added.items()}
    for name, array in arrays.items():
        schema = schema.append(pa.field(name, array.type, nullable=False))
    sink = io.BytesIO()
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
        raise WrongValues(f"column {field.name[:200]} cannot be written as text: {_reason(error)}") from None
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
    fault = Fault(f"column {field.name[:200]}", detail)
    raise WrongValues(summary([fault], 1), faults=[fault])


def _type_name(field: Field) -> str:
    try:
        return str(field.type)[:100].encode("ascii", "replace").decode()
    except UnicodeDecodeError:  # the names of a structure's own fields
        return "with a name that is not UTF-8"


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200].encode("ascii", "replace").decode()


def _place(row: int, name: str) -> str:
    return f"row {row}, column {name}"
